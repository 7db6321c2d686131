"""What the commands in this folder share on their command lines."""

import argparse
from collections.abc import Callable
from typing import NoReturn

# Of the commands on NYUv2's .mat files.
NEEDS_H5PY = 'needs h5py: pip install -e ".[nyuv2]"'


class OneLineParser(argparse.ArgumentParser):
    """Tells what is wrong in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def at_least(lowest: int) -> Callable[[str], int]:
    """A type of arguments: integers from ``lowest`` on."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < lowest:
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer from {lowest} on")
        return int(text)

    return parse
