#!/usr/bin/env python
"""Parameters and multiply-adds of models by part, as a markdown table.

    python tools/analyze_model.py --config-file configs/ssd_nyuv2.yaml configs/flat_nyuv2.yaml \
        configs/rock_nyuv2.yaml

Settings can follow as KEY VALUE pairs, for instance MODEL.RESNETS.DEPTH 101.
"""

import argparse
from itertools import takewhile
from pathlib import Path

from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model

from rock_d2 import add_rock_config
from rock_d2.engine.complexity import complexity_by_part, complexity_table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--config-file", nargs="+", required=True, help="one or several, then KEY VALUE pairs"
    )
    words = parser.parse_args().config_file
    files = list(takewhile(lambda word: word.endswith(".yaml"), words))
    models = {}
    for file in files:
        cfg = load_config(file, words[len(files) :])
        models[Path(file).stem] = complexity_by_part(build_model(cfg), tuple(cfg.INPUT.SIZE))
    print(complexity_table(models))


def load_config(file: str, opts: list[str]) -> CfgNode:
    cfg = get_cfg()
    add_rock_config(cfg)
    cfg.merge_from_file(file)
    cfg.merge_from_list(opts)
    cfg.MODEL.DEVICE = "cpu"
    return cfg


if __name__ == "__main__":
    main()
