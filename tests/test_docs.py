"""The documentation: links lead somewhere, and generated pages are those of the code."""

import re
import runpy
import shutil
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

import rock_d2  # noqa: F401 (registers the data sets)

ROOT = Path(__file__).parents[1]
# Before tests register others; Detectron2's have no `files`.
OWN_SETS = sorted(name for name in DatasetCatalog if MetadataCatalog.get(name).get("files"))
PAGES = sorted(
    page
    for folder in (".", "docs", "datasets", "results", "third_party/detectron2")
    for page in (ROOT / folder).glob("**/*.md" if folder == "results" else "*.md")
)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        linked = page.parent / file if file else page
        if not linked.exists() or (anchor and anchor not in anchors(linked)):
            broken.append(target)
    assert broken == []


def test_python_in_the_readme_runs(tmp_path, monkeypatch):
    """With the trained weights, and with a rendered room for each image that it names."""
    monkeypatch.chdir(tmp_path)
    program = "".join(re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S))
    for name in re.findall(r'"([\w/]+\.jpg)"', program):
        shutil.copy(ROOT / "rock_d2/model_zoo/examples/kitchen.jpg", name)
    given = set(tmp_path.iterdir())
    assert "Predictor(" in program
    exec(program, {})
    # A picture for each of them.
    assert len([path for path in tmp_path.rglob("*.*") if path not in given]) == len(given)


def test_config_page_is_that_of_the_code():
    """Otherwise run: python docs/generate.py"""
    generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    page = (ROOT / "docs" / "CONFIG.md").read_text()
    assert page == generate["config_page"]()
    # Every setting has a meaning.
    assert re.findall(r"^\| `([\w.]+)`.*\|\s*\|$", page, re.MULTILINE) == []


def test_every_data_set_has_a_row():
    page = (ROOT / "docs" / "DATASETS.md").read_text()
    rows = re.findall(r"`(\w+_)\{([\w,]+)\}` \|$", page, re.MULTILINE)
    assert sorted(stem + end for stem, ends in rows for end in ends.split(",")) == OWN_SETS


def test_site_has_all_pages_and_no_link_out_of_it(tmp_path):
    generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    generate["write_site"](tmp_path)
    names = {page.name for page in tmp_path.glob("*.md")}
    assert names == {"index.md"} | {page.name for page in (ROOT / "docs").glob("*.md")}
    for page in tmp_path.glob("*.md"):
        targets = re.findall(r"\]\(([^)#\s]+)", page.read_text())
        assert [t for t in targets if "://" not in t and not (tmp_path / t).exists()] == []
