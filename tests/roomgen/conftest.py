import pytest
from roomgen.frame import Frame
from roomgen.render import render_frame


@pytest.fixture(scope="session")
def frames() -> list[Frame]:
    """Two views each of six rooms; odd sizes show what depends on the size."""
    return [
        render_frame(3, index, 90, 120) for room in range(6) for index in (3 * room, 3 * room + 1)
    ]
