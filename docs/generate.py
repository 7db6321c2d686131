#!/usr/bin/env python
"""Writes the pages and figures that follow from the code: CONFIG.md and architecture.svg.

    python docs/generate.py
    python docs/generate.py --site DIR    # also Markdown files for mkdocs: README.md and all pages

`make docs` builds the site in site/.
"""

import argparse
import re
from collections.abc import Iterator
from dataclasses import fields
from inspect import getdoc
from pathlib import Path
from shutil import copytree
from typing import Any

import matplotlib
from detectron2.config import get_cfg
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from rock_d2.checkpoint.identity import flat_settings
from rock_d2.config import add_rock_config
from rock_d2.tasks import TASK_REGISTRY
from rock_d2.tasks.base import Task, key_of

DOCS = Path(__file__).parent
PACKAGE = DOCS.parent / "rock_d2"
# The files that add settings, in the page's order, and what their `node` is.
SOURCES = {
    "config.py": "",
    "modeling/necks/rock.py": "MODEL.",
    "modeling/necks/pad_net.py": "MODEL.",
    "modeling/necks/mti_net.py": "MODEL.",
    "modeling/balancing.py": "MODEL.BALANCING.",
    "modeling/backbones/timm.py": "",
    "modeling/fcos.py": "",
    "modeling/lazy.py": "",
}
ASSIGNMENT = re.compile(r"\s+(?:cfg|node)\.([A-Z][\w.]*) = ")
INTRODUCTION = """# Settings

Every setting that rock_d2 adds to Detectron2's own, with its default. They stand in a yaml, or
follow a command as `KEY VALUE` pairs. *Written by `python docs/generate.py` from the code.*

`configs/lazy/rock_nyuv2.py` is the same network as `configs/rock_nyuv2.yaml`, as a tree of Python
calls for Detectron2's LazyConfig; the same commands take it, and any copy of it. The network is
the file's: of MODEL, only DEVICE, WEIGHTS, WEIGHTS_BY_CLASS_NAME, TASKS (the same tasks as in the
file) and BALANCING are read for it; `MODEL.LAZY.OVERRIDES` changes the rest. Labels, images and
metrics still follow the DETECTOR, MASK_ON, KEYPOINT_ON, PIXEL_MEAN and ROCK.GIVEN of the yaml.
"""


def added_settings() -> dict[str, Any]:
    """Return rock_d2's settings that Detectron2 does not have, or has with another default."""
    cfg = get_cfg()
    before = dict(flat_settings(cfg))
    add_rock_config(cfg)
    return {
        name: value
        for name, value in flat_settings(cfg)
        if name not in before or before[name] != value
    }


def comments_in(path: Path, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield (setting or node, the comment above its assignment, or above a group) of a file."""
    comment: list[str] = []
    is_read = True
    for line in path.read_text().splitlines():
        if line.strip().startswith("# "):
            comment = [*([] if is_read else comment), line.strip()[2:]]
            is_read = False
        elif comment and (found := ASSIGNMENT.match(line)):
            yield prefix + found[1], " ".join(comment)
            is_read = True
        else:
            comment = []


def task_comments(task: type[Task]) -> Iterator[tuple[str, str]]:
    """Yield (setting, its lines of the class's docstring) of a task."""
    documented: dict[str, str] = {}
    for ancestor in reversed(task.__mro__):
        text = (getdoc(ancestor) or "").partition("Attributes:")[2]
        found = re.findall(r"^    (\w+): (.*?)(?=^    \w|\Z)", text, re.MULTILINE | re.DOTALL)
        documented |= {name: " ".join(lines.split()) for name, lines in found}
    for setting in fields(task):
        yield f"MODEL.TASKS.{task.name.upper()}.{key_of(setting)}", documented.get(setting.name, "")


def config_page() -> str:
    """Return the page of all settings: a table for each node."""
    comments: dict[str, str] = {}
    for file, prefix in SOURCES.items():
        for name, comment in comments_in(PACKAGE / file, prefix):
            # Later assignments are no definitions.
            comments.setdefault(name, comment)
    for _, task in TASK_REGISTRY:
        comments |= dict(task_comments(task))
    nodes: dict[str, list[str]] = {}
    for name, value in added_settings().items():
        node, _, _ = name.rpartition(".")
        row = f"| `{name}` | `{value!r}` | {escaped(comments.get(name, ''))} |"
        nodes.setdefault(node, []).append(row)
    parts = [INTRODUCTION]
    for node, rows in nodes.items():
        parts.append(f"## {node or 'Everything else'}\n")
        if comments.get(node):
            parts.append(f"{comments[node]}\n")
        parts.append("\n".join(["| setting | default | meaning |", "|---|---|---|", *rows, ""]))
    return "\n".join(parts)


def escaped(text: str) -> str:
    """Return text for a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def draw_architecture(path: Path) -> None:
    """Draw images, backbone, neck, detector and tasks, and the inside of ROCK."""
    # Text stays text, and the same figure is the same file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "rock_d2"})
    figure, axes = pyplot.subplots(figsize=(11, 4.6))
    axes.set(xlim=(0, 110), ylim=(0, 46))
    axes.axis("off")
    grey, blue, green, orange = "#e8e8e8", "#cfe2f3", "#d9ead3", "#fce5cd"
    box(axes, 1, 29, 11, 8, "images", grey)
    box(axes, 17, 29, 18, 8, "backbone\n(ResNet, timm …)", blue)
    box(axes, 44, 3, 36, 41, "", "#fafafa")
    axes.text(62, 41, "neck: ROCK", ha="center", weight="bold")
    box(axes, 46, 18, 9, 6, "trunk", green)
    box(axes, 58, 18, 9, 6, "Enc$_t$", green)
    box(axes, 70, 18, 9, 6, "Dec$_t$", green)
    box(axes, 58, 6, 9, 6, "pooled", green)
    box(axes, 86, 29, 24, 8, "detector's head\n(SSD, RetinaNet …)", blue)
    box(axes, 86, 5, 24, 9, "scene, depth, normals\n(labels in training only)", orange)
    axes.text(74.5, 33, "+", ha="center", va="center", size=18)
    arrows = (
        ((12, 33), (17, 33), ""),
        ((35, 33), (73, 33), "X"),
        ((50.5, 33), (50.5, 24), ""),
        ((55, 21), (58, 21), ""),
        ((67, 21), (70, 21), ""),
        ((74.5, 24), (74.5, 31), ""),
        ((76, 33), (86, 33), "X̃"),
        ((62.5, 18), (62.5, 12), ""),
        ((67, 9), (86, 9), "predictions"),
    )
    for start, end, text in arrows:
        axes.annotate("", xy=end, xytext=start, arrowprops={"arrowstyle": "-|>", "color": "#333"})
        middle = (start[0] + end[0]) / 2
        axes.text(middle, start[1] + 0.8, text, ha="center", va="bottom", size=11)
    axes.text(62, 27, "one for each task t", ha="center", style="italic", size=9)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)


def box(axes: Axes, left: float, low: float, width: float, height: float, text: str, colour: str):
    style = "round,pad=0,rounding_size=0.8"
    patch = FancyBboxPatch((left, low), width, height, style, facecolor=colour, edgecolor="#555")
    axes.add_patch(patch)
    axes.text(left + width / 2, low + height / 2, text, ha="center", va="center", size=10)


def write_site(folder: Path) -> None:
    """Write all pages to a folder, with README.md as its index and without links out of it."""
    copytree(DOCS, folder, dirs_exist_ok=True, ignore=lambda *_: ["__pycache__", "generate.py"])
    text = (DOCS.parent / "README.md").read_text().replace("](docs/", "](")
    pages = {"index.md": text} | {page.name: page.read_text() for page in DOCS.glob("*.md")}
    for name, page in pages.items():
        # What is not a page of the site stays as its name in the repository.
        inside = re.sub(r"(?<!!)\[([^]]*)\]\(([^)#]*)(#[^)]*)?\)", link_inside, page)
        (folder / name).write_text(inside)


def link_inside(link: re.Match) -> str:
    target = link[2]
    is_kept = not target or "://" in target or (".." not in target and (DOCS / target).exists())
    return link[0] if is_kept else link[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--site", type=Path, metavar="DIR", help="write mkdocs' Markdown there")
    arguments = parser.parse_args()
    (DOCS / "CONFIG.md").write_text(config_page())
    draw_architecture(DOCS / "architecture.svg")
    if arguments.site is not None:
        write_site(arguments.site)


if __name__ == "__main__":
    main()
