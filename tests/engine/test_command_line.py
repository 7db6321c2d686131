"""Options that all tools share, and one-line errors."""

import sys

import pytest

from rock_d2.engine.command_line import one_line_errors, parse, tool_parser
from rock_d2.engine.setup import check_config, warn_without_effect


@pytest.fixture(autouse=True)
def _modules(monkeypatch):
    """Put back which modules are imported, and from where."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))


def test_modules_and_files_are_imported_in_their_order(tmp_path, monkeypatch):
    (tmp_path / "first_task.py").write_text("import beside\nbeside.names.append('first')\n")
    (tmp_path / "beside.py").write_text("names = []\n")
    package = tmp_path / "elsewhere"
    package.mkdir()
    (package / "second_data.py").write_text("import beside\nbeside.names.append('second')\n")
    monkeypatch.syspath_prepend(package)
    parser = tool_parser("A tool.")
    parse(parser, ["--import", str(tmp_path / "first_task.py"), "--import", "second_data"])
    assert sys.modules["beside"].names == ["first", "second"]


@pytest.mark.parametrize("name", ["no_such_module", "no/such/file.py"])
def test_what_cannot_be_imported_is_one_line(name, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/paint.py"])
    # Python prints it and exits with 1.
    line = pytest.raises(SystemExit, match=rf"^paint: --import {name}: [^\n]+$")
    with line, one_line_errors():
        parse(tool_parser("A tool."), ["--import", name])


def test_file_with_the_name_of_another_module_is_refused(tmp_path):
    (tmp_path / "json.py").touch()
    with pytest.raises(ImportError, match=r"json.py: .* has the same name; rename the file"):
        parse(tool_parser("A tool."), ["--import", str(tmp_path / "json.py")])


def test_bugs_keep_their_traceback():
    with pytest.raises(KeyError), one_line_errors():
        raise KeyError("a bug")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("MODEL.DEVICE", "gpu"), "MODEL.DEVICE is 'gpu'; it must be cpu, cuda or"),
        (("MODEL.DEVICE", "cuda:999"), "MODEL.DEVICE is 'cuda:999'.* PyTorch sees"),
        (("DATASETS.TEST", ("room_val",)), "DATASETS.TEST: 'room_val' is not registered"),
    ],
)
def test_devices_and_data_sets_that_are_not_there_are_refused(settings, message, small_config):
    with pytest.raises(ValueError, match=message):
        check_config(small_config(*settings))


def test_settings_without_effect_are_a_warning(small_config, heard):
    warn_without_effect(small_config())
    assert heard.text == ""
    warn_without_effect(small_config("TEST.AUG.ENABLED", True, "INPUT.MIN_SIZE_TEST", 3))
    assert "here: TEST.AUG.ENABLED True (each image is seen once)\n" in heard.text
