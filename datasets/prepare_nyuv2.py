#!/usr/bin/env python3
"""Converts NYUv2's official files to this project's tree.

    python datasets/prepare_nyuv2.py --mat nyu_depth_v2_labeled.mat --splits splits.mat
    python datasets/prepare_nyuv2.py --mat ... --splits ... --normals normals_gt

A run that was killed goes on where it stopped. README.md beside this file says what is written.
"""

import importlib.util
import os
import sys
from collections.abc import Sequence

from one_line_parser import NEEDS_H5PY


def main(argv: Sequence[str] | None = None) -> int:
    # The work is split over processes, so each has one thread. NumPy reads this when it is loaded,
    # hence the late import.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    if importlib.util.find_spec("h5py") is None:
        print(f"prepare_nyuv2.py: {NEEDS_H5PY}", file=sys.stderr)
        return 1
    from nyuv2prep.command import main as run

    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
