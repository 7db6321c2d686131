"""A Python that has imported rock_d2, and runs scripts in copies of itself.

Started by command_line.py. A line of its input is a command as JSON; a line of its output is the
exit code of the copy that ran it.
"""

import json
import os
import runpy
import sys
from multiprocessing import get_context
from pathlib import Path

import rock_d2.engine  # noqa: F401


def work(arguments: list[str], environment: dict[str, str], consoles: list[str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, path in enumerate(consoles, start=1):
        os.dup2(os.open(path, os.O_WRONLY), descriptor)
    sys.argv = arguments
    sys.path.insert(0, str(Path(arguments[0]).parent))
    runpy.run_path(arguments[0], run_name="__main__")


while line := sys.stdin.readline():
    copy = get_context("fork").Process(target=work, kwargs=json.loads(line))
    copy.start()
    copy.join()
    print(copy.exitcode, flush=True)
