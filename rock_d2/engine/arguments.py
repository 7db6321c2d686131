"""Arguments that several tools take; ``--help`` waits for nothing that this module imports."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def tool_parser(description: str) -> argparse.ArgumentParser:
    """A parser whose help shows a tool's docstring as it is."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


@contextmanager
def one_line(tool: str, *further: type[Exception]) -> Iterator[None]:
    """Ends the process with a line where a file, a setting or a missing package is to blame.

    Args:
        tool: its name.
        further: exceptions that are told in this way, too.
    """
    try:
        yield
    except (ImportError, OSError, ValueError, *further) as problem:
        sys.exit(f"{tool}: {problem}")


def training_parser(description: str) -> argparse.ArgumentParser:
    """The arguments of a training, which are Detectron2's.

    Detectron2's own ``default_argument_parser`` lies in a module that imports PyTorch;
    tests/engine/test_arguments.py holds the two equal.
    """
    parser = tool_parser(description)
    add = parser.add_argument
    add("--config-file", default="", metavar="FILE", help="path to config file")
    add("--resume", action="store_true", help="go on from the last checkpoint in OUTPUT_DIR")
    add("--resume-anyway", action="store_true", help="so, under another seed, data or model, too")
    add("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS and train nothing")
    add("--num-gpus", type=int, default=1, help="processes a machine (default: %(default)s)")
    add("--num-machines", type=int, default=1, help="in all (default: %(default)s)")
    add("--machine-rank", type=int, default=0, help="this machine's number (default: %(default)s)")
    add("--dist-url", default=free_address(), help="where processes meet (default: %(default)s)")
    add("opts", nargs=argparse.REMAINDER, default=None, metavar="KEY VALUE", help="settings")
    return parser


def free_address() -> str:
    """One of this machine that differs between users, as Detectron2 chooses it."""
    return f"tcp://127.0.0.1:{2**15 + 2**14 + hash(os.getuid()) % 2**14}"


def add_picture_arguments(
    parser: argparse.ArgumentParser, output_dir: str, *, num_images: int, columns: int
) -> None:
    """What tools that draw many images take, with their defaults."""
    add = parser.add_argument
    add(
        "--output-dir",
        type=Path,
        default=Path(output_dir),
        metavar="DIR",
        help="default: %(default)s",
    )
    add(
        "--num-images",
        type=int,
        default=num_images,
        metavar="N",
        help="evenly spaced over the set (default: %(default)s)",
    )
    add("--contact-sheet", action="store_true", help="one picture of all, too")
    add("--columns", type=int, default=columns, help="of the contact sheet (default: %(default)s)")
    add("--sheet-width", type=int, default=1600, help="in pixels (default: %(default)s)")
    add("opts", nargs="*", metavar="KEY VALUE", help="settings of the config")
