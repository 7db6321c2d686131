"""Options that all tools share, and one-line errors."""

import sys

import pytest

from rock_d2.engine.command_line import one_line_errors, parse, tool_parser


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
