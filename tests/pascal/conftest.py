"""The archive PASCAL_MT of five images, and the data sets converted from it."""

import official_pascal as official
import pytest
from prepare_pascal import main


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    root = tmp_path_factory.mktemp("input") / "PASCAL_MT"
    official.write_archive(root)
    return root


@pytest.fixture(scope="session")
def converted(archive, tmp_path_factory):
    """The tree of the whole archive."""
    root = tmp_path_factory.mktemp("converted")
    small = ["--small-list", str(archive / "test_new.txt")]
    main(["--archive", str(archive), *small, "--root", str(root), "--jobs", "2"])
    return root / "pascal_mt"
