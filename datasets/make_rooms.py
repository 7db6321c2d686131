#!/usr/bin/env python3
"""Render rooms: indoor scenes with boxes, masks, depth, normals and scene classes.

    python datasets/make_rooms.py                          # 800 + 600 images of 240 x 320
    python datasets/make_rooms.py --size 480x640 --train 4000 --val 500
    python datasets/make_rooms.py --style plain            # the scene types look alike

The same seed gives the same bytes, for any number of processes. README.md beside this file
describes the files.
"""

import os
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    # The work is split over processes, so each has one thread. NumPy reads this when it is loaded,
    # hence the late imports.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from rock_d2.engine.command_line import one_line_errors

    with one_line_errors():
        from roomgen.command import main as run

        run(__doc__, argv)


if __name__ == "__main__":
    main()
