"""Parts that the command lines of all tools share."""

import argparse
import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# Their messages name a file, a setting or a package, so that a user needs no traceback.
ERRORS = (ImportError, OSError, ValueError, FloatingPointError)


def tool_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser whose help shows a tool's docstring as it is."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE_OR_FILE",
        help="import a module or a .py file that registers tasks, data sets or parts of networks "
        "(repeatable)",
    )
    return parser


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the config and the weights of a trained model, by default of the project's own."""
    add = parser.add_argument
    config = (
        "the model's yaml file, or its name in configs/ (default: %(default)s, which comes trained)"
    )
    add("--config-file", default="rock_rooms", metavar="FILE", help=config)
    weights = "the trained model's file (default: MODEL.WEIGHTS of the config)"
    add("--weights", metavar="FILE", help=weights)


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse a command line and import the modules that it names."""
    args = parser.parse_args(argv)
    for name in args.imports:
        import_module_or_file(name)
    return args


def import_module_or_file(name: str) -> None:
    """Import a module by its name, or a .py file together with the modules beside it."""
    path = Path(name)
    is_file = path.suffix == ".py"
    if is_file and not path.is_file():
        raise FileNotFoundError(f"--import {name}: there is no such file")
    if is_file:
        sys.path.insert(0, str(path.parent.resolve()))
    try:
        module = importlib.import_module(path.stem if is_file else name)
    except ImportError as problem:
        raise ImportError(f"--import {name}: {problem}") from problem
    if is_file and Path(module.__file__ or "").resolve() != path.resolve():
        raise ImportError(f"--import {name}: {module.__file__} has the same name; rename the file")


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print errors whose message is enough as ``<program>: <message>`` and exit with 1."""
    try:
        yield
    except ERRORS as problem:
        sys.exit(f"{Path(sys.argv[0]).stem}: {problem}")
