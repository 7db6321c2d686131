#!/usr/bin/env python3
"""Converts NYUv2's official files to this project's tree.

    python datasets/prepare_nyuv2.py --mat nyu_depth_v2_labeled.mat --splits splits.mat
    python datasets/prepare_nyuv2.py --mat ... --splits ... --normals normals_gt

A run that was killed goes on where it stopped. README.md beside this file says what is written.
"""

import os
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    # The work is split over processes, so each has one thread. NumPy reads this when it is loaded,
    # hence the late import.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from nyuv2prep.command import main as run

    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
