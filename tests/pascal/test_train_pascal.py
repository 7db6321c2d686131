"""From the archive to metrics: PASCAL-Context's tasks, of which one has no labels."""

import json

from check_dataset import check_dataset
from prepare_pascal import main as prepare

from rock_d2.engine import main
from rock_d2.tasks import TASK_REGISTRY

TINY = (
    *("MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu", "SEED", 1, "INPUT.SIZE", "[64, 64]"),
    *("DATASETS.TEST", "('pascal_mt_val2498',)", "DATALOADER.NUM_WORKERS", 0),
    *("SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 2, "SOLVER.POLY.PERIOD", 1),
    *("SOLVER.LOG_PERIOD", 1, "TEST.EVAL_PERIOD", 0, "TEST.NUM_PICTURES", 0),
)
TASKS, ABSENT = {"sem_seg", "human_parts", "saliency", "normals", "edges"}, "saliency"


def test_what_has_labels_is_trained_and_measured(archive, tmp_path, monkeypatch):
    small, root = ["--small-list", str(archive / "test_new.txt")], tmp_path / "datasets"
    without = ["--without", ABSENT]
    prepare(["--archive", str(archive), *small, *without, "--root", str(root), "--jobs", "1"])
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    tasks = [task() for _, task in TASK_REGISTRY]
    for split in ("train", "val", "val2498"):
        assert not check_dataset(f"pascal_mt_{split}", tasks, num_processes=1).problems

    file = "configs/mti/pascal/mtl_hrnet18.yaml"
    main(list(map(str, ["--config-file", file, *TINY, "OUTPUT_DIR", tmp_path / "out"])))
    lines = (tmp_path / "out/metrics.json").read_text().splitlines()
    losses = [line for line in map(json.loads, lines) if "total_loss" in line]
    assert len(losses) == 2
    for task in TASKS:
        assert any(line[f"loss_{task}"] for line in losses) == (task != ABSENT)
    found = json.loads((tmp_path / "out/results.json").read_text())
    assert found.keys() - {"protocol", "main"} == TASKS - {ABSENT}
