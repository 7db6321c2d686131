#!/usr/bin/env python3
"""Renders rooms: indoor scenes with boxes, masks, depth, normals and scene classes.

    python datasets/make_rooms.py                          # 800 + 200 images of 240 x 320
    python datasets/make_rooms.py --size 480x640 --train 4000 --val 500

The same seed gives the same bytes, whatever the number of processes. README.md beside this file
describes what is written.
"""

import os
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    # The work is split over processes, so each has one thread. NumPy reads this when it is loaded,
    # hence the late import.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from roomgen.command import main as run

    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
