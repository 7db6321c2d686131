#!/usr/bin/env python
"""Trains a model and evaluates it.

    python tools/train_net.py --config-file configs/rock/rock_rooms.yaml
    python tools/train_net.py --config-file configs/rock_nyuv2.yaml --num-gpus 8
    python tools/train_net.py --config-file ... --num-gpus 2 MODEL.DEVICE cpu
    torchrun --nproc_per_node=2 tools/train_net.py --config-file ... MODEL.DEVICE cpu
    python tools/train_net.py --config-file ... --eval-only MODEL.WEIGHTS output/model_final.pth
    python tools/train_net.py --import my_task.py --config-file my_config.yaml

Settings of the config can follow as KEY VALUE pairs. OUTPUT_DIR holds the log, the checkpoints,
metrics.json, TensorBoard's events and, at the end, results.json. Exit code 75: a signal has ended
the training, and --resume continues it.
"""

from rock_d2.engine import main

if __name__ == "__main__":
    main()
