"""Reading configs: plain values only, and one line that names the file."""

import pytest

from rock_d2.config import load_config

BAD_FILES = {
    "a tag": ("SEED: !!python/object/apply:os.getpid []\n", "could not determine a constructor"),
    "no YAML": ("SEED: [1\n", "line 2"),
    "an unknown setting": ("SEEED: 1\n", "SEEED"),
    "a wrong type": ("SEED: [1, 2]\n", "SEED"),
    "its own base": ('_BASE_: "config.yaml"\n', "back to itself"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_wrong_file_is_named_in_one_line(tmp_path, kind):
    content, message = BAD_FILES[kind]
    file = tmp_path / "config.yaml"
    file.write_text(content)
    with pytest.raises((ValueError, OSError), match=message) as caught:
        load_config(file)
    assert "config.yaml" in str(caught.value) and "\n" not in str(caught.value)


def test_later_settings_win(tmp_path):
    (tmp_path / "base.yaml").write_text("SEED: 1\nMODEL: {DETECTOR: 'FCOS'}\n")
    (tmp_path / "config.yaml").write_text('_BASE_: "base.yaml"\nSEED: 2\n')
    cfg = load_config(tmp_path / "config.yaml", ["SOLVER.MAX_ITER", 3])
    assert (cfg.SEED, cfg.MODEL.DETECTOR, cfg.SOLVER.MAX_ITER) == (2, "FCOS", 3)
    again = load_config(cfg, ["SEED", 5])
    assert (again.SEED, cfg.SEED) == (5, 2)
    with pytest.raises(ValueError, match=r"SOLVER\.NOTHING"):
        load_config(cfg, ["SOLVER.NOTHING", 1])
