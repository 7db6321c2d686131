#!/usr/bin/env python3
"""Convert NYUv2's official files to this project's tree.

    python datasets/prepare_nyuv2.py --mat nyu_depth_v2_labeled.mat --splits splits.mat
    python datasets/prepare_nyuv2.py --mat ... --splits ... --normals normals_gt

A run that was killed continues where it stopped. README.md beside this file describes the files.
"""

import os
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    # The work is split over processes, so each has one thread. NumPy reads this when it is loaded,
    # hence the late imports.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from rock_d2.engine.command_line import one_line_errors

    with one_line_errors():
        from nyuv2prep.command import main as run

        run(__doc__, argv)


if __name__ == "__main__":
    main()
