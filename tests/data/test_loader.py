"""The training loader: seeded, endless, the same for any number of workers and processes."""

import resource
from itertools import islice

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from torch.utils.data import get_worker_info

from rock_d2 import add_rock_config, build_test_loader, build_train_loader, register_multitask_coco
from rock_d2.data.cache import RecordReader
from rock_d2.data.loader import (
    PositionSampler,
    SampleStream,
    epoch_order,
)
from rock_d2.data.records import forget_boxes, subset
from rock_d2.data.workers import LoaderError, UnreadableError

RECORDS = [{"image_id": i, "file_name": f"{i}.png"} for i in range(10)]
LOST = {3, 7}


def noisy(record):
    """A mapper that draws from every generator an augmentation may use."""
    return {"id": record["image_id"], "numpy": np.random.uniform(), "torch": torch.rand(1).item()}


def partly_lost(record):
    if record["image_id"] in LOST:
        raise ValueError(f"{record['file_name']}: is no image")
    return {"image_id": record["image_id"]}


def batches(count, mapper=noisy, **options):
    options = {"total_batch_size": 4, "seed": 5} | options
    return list(islice(build_train_loader(RECORDS, mapper=mapper, **options), count))


def test_batches_follow_from_the_seed_and_not_from_workers_or_where_a_training_resumes():
    expected = batches(12)
    assert batches(12, num_workers=1) == expected
    assert batches(12, num_workers=3) == expected
    assert batches(3, start_batch=4) == expected[4:7]
    assert batches(3, seed=6) != expected[:3]


def test_two_processes_share_the_batches_of_one():
    expected = batches(5)
    stream = SampleStream(RecordReader(RECORDS, noisy), seed=5)

    def of_process(rank):
        positions = iter(PositionSampler(batch_size=2, rank=rank, world_size=2))
        return [[stream[i] for i in islice(positions, 2)] for _ in range(5)]

    together = [a + b for a, b in zip(of_process(0), of_process(1), strict=True)]
    assert together == expected


def test_each_pass_has_every_image_once_in_another_order_and_other_random_numbers():
    items = [item for batch in batches(10) for item in batch]
    passes = [[item["id"] for item in items[i : i + 10]] for i in range(0, 40, 10)]
    assert all(sorted(one) == list(range(10)) for one in passes)
    assert len({tuple(one) for one in passes}) == 4
    assert sorted(epoch_order(0, 3, 7)) == list(range(7))
    assert len({item["numpy"] for item in items}) == 40


def test_smaller_shares_lie_within_larger_ones():
    # The paper's 673 training images: 60, 70 and 80 % are 403.8, 471.1 and 538.4.
    records = [{"image_id": i} for i in range(673)]
    ids = {
        share: [record["image_id"] for record in subset(records, share, setting="")]
        for share in (0.6, 0.7, 0.8, 1.0)
    }
    assert [len(chosen) for chosen in ids.values()] == [404, 471, 538, 673]
    assert set(ids[0.6]) < set(ids[0.7]) < set(ids[0.8]) < set(ids[1.0])
    assert all(chosen == sorted(chosen) for chosen in ids.values())
    # Chosen evenly, not from one end.
    assert abs(np.mean(ids[0.6]) - 336) < 30


def test_boxes_are_forgotten_as_images_are_left_out_and_no_further():
    records = [{"image_id": i, "annotations": []} for i in range(673)]
    few = subset(records, 0.25, setting="")
    found = forget_boxes(records, kept=0.25)
    assert [record["image_id"] for record in found] == list(range(673))
    assert [record for record in found if "annotations" in record] == few
    assert forget_boxes(found, kept=1.0) == found and "annotations" in records[0]


HALF_BOXED = [
    {**record, "annotations": []} if record["image_id"] < 4 else record for record in RECORDS
]


def test_the_share_of_boxed_samples_is_exact_and_each_kind_has_passes_of_its_own():
    options = {"total_batch_size": 8, "seed": 5, "boxed_share": 0.25}
    found = list(islice(build_train_loader(HALF_BOXED, mapper=noisy, **options), 24))
    items = [item["id"] for batch in found for item in batch]
    assert all(sum(i < 4 for i in items[p : p + 4]) == 1 for p in range(len(items) - 3))
    for kind in ([i for i in items if i < 4], [i for i in items if i >= 4]):
        size = len(set(kind))
        passes = [kind[p : p + size] for p in range(0, len(kind), size)]
        assert all(len(set(one)) == size for one in passes)
        assert len(set(map(tuple, passes))) > len(passes) // 2
    resumed = build_train_loader(HALF_BOXED, mapper=noisy, start_batch=7, num_workers=2, **options)
    assert list(islice(resumed, 3)) == found[7:10]


@pytest.mark.parametrize(
    ("records", "share"), [(RECORDS, 0.5), (HALF_BOXED[:4], 0.5), (RECORDS, 2)]
)
def test_a_share_that_cannot_be_is_named(records, share):
    with pytest.raises(ValueError, match=r"^DATALOADER.BOXED_SHARE is"):
        build_train_loader(records, mapper=noisy, total_batch_size=4, seed=0, boxed_share=share)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_file_that_stays_away_is_an_error_of_one_line(num_workers):
    with pytest.raises(UnreadableError, match=r"^[37].png: is no image$"):
        batches(3, partly_lost, num_workers=num_workers)


def large(record):
    instances = Instances((4, 4), gt_boxes=Boxes(torch.ones(2, 4)))
    return {"image": torch.full((3, 200, 300), record["image_id"]), "instances": instances}


def with_little(limit: int, amount: int):
    def mapper(record):
        # Of a worker: its files in shared memory, or its file descriptors, are as limited.
        if get_worker_info() is not None:
            resource.setrlimit(limit, (amount, amount))
        return large(record)

    return mapper


@pytest.mark.parametrize(
    ("mapper", "reason"),
    [
        (with_little(resource.RLIMIT_FSIZE, 1 << 16), r"File too large.*/dev/shm"),
        (with_little(resource.RLIMIT_NOFILE, 8), r"Too many open files.*ulimit -n"),
    ],
)
def test_a_lack_of_shared_memory_or_files_is_said_at_once(mapper, reason):
    with pytest.raises(LoaderError, match=rf"^a batch cannot be put into shared memory.*{reason}"):
        batches(1, mapper, num_workers=1)


@pytest.fixture
def rooms_cfg(rooms_root):
    root = rooms_root / "rooms"
    for split in ("train", "val"):
        json_file = str(root / f"annotations/rooms_{split}.json")
        register_multitask_coco(f"built_{split}", json_file, str(root), scene_classes=["x"] * 27)
    cfg = get_cfg()
    add_rock_config(cfg)
    cfg.MODEL.META_ARCHITECTURE = "MultiTask"
    cfg.DATASETS.TRAIN = ("built_train",)
    cfg.INPUT.SIZE = [60, 80]
    cfg.SOLVER.IMS_PER_BATCH = 4
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    cfg.SEED = 7
    yield cfg
    for split in ("train", "val"):
        DatasetCatalog.remove(f"built_{split}")
        MetadataCatalog.remove(f"built_{split}")


def test_loaders_from_a_config(rooms_cfg):
    batch = next(iter(build_train_loader(rooms_cfg)))
    assert [tuple(item["image"].shape) for item in batch] == [(3, 60, 80)] * 4
    again = next(iter(build_train_loader(rooms_cfg)))
    assert torch.equal(batch[3]["depth"], again[3]["depth"])
    # 9 images in batches of 8, in their order.
    found = list(build_test_loader(rooms_cfg, "built_val"))
    assert [len(batch) for batch in found] == [8, 1]
    expected = [record["image_id"] for record in DatasetCatalog.get("built_val")]
    assert [item["image_id"] for batch in found for item in batch] == expected
    rooms_cfg.DATASETS.TRAIN_FRACTION = 0.6
    assert len(build_train_loader(rooms_cfg).dataset.reader) == 9  # of 15
    # A third of them keeps its boxes, and is every second sample.
    rooms_cfg.merge_from_list(["DATASETS.BOXED_FRACTION", 0.3333, "DATALOADER.BOXED_SHARE", 0.5])
    rooms_cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = True
    loader = build_train_loader(rooms_cfg)
    assert sum("annotations" in record for record in loader.dataset.reader.records) == 3
    batch = next(iter(loader))
    assert ["instances" in item for item in batch] == [False, True, False, True]
    assert all({"depth", "normals", "scene"} <= item.keys() for item in batch)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["MODEL.SSD.NUM_CLASSES", 20], "MODEL.SSD.NUM_CLASSES is 20.*built_train.* 19"),
        (["MODEL.DETECTOR", "RetinaNet"], "MODEL.RETINANET.NUM_CLASSES is 80.*built_train.* 19"),
        (["MODEL.TASKS.SCENE.NUM_CLASSES", 5], "SCENE.NUM_CLASSES is 5.*built_train.* 27"),
        (["MODEL.TASKS.AUXILIARY", ["Depth", "Depths"]], "MODEL.TASKS.*AUXILIARY.*Depths"),
        (
            ["MODEL.DETECTOR", "", "DATASETS.KEEP_LABELS", ["boxes"]],
            r"no image has a label of scene \(`scene_id`\), depth .*: there is nothing to learn",
        ),
    ],
)
def test_a_config_that_contradicts_the_data_is_refused(rooms_cfg, settings, message):
    rooms_cfg.merge_from_list(settings)
    with pytest.raises(ValueError, match=message):
        build_train_loader(rooms_cfg)


def test_a_task_without_any_label_is_said(rooms_cfg, caplog):
    rooms_cfg.merge_from_list(["MODEL.NECK.NAME", "ROCK", "DATASETS.KEEP_LABELS", ["boxes depth"]])
    build_train_loader(rooms_cfg)
    said = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert said == [
        "DATASETS.TRAIN: no image has a label of scene (`scene_id`), normals "
        "(`normals_file_name`): nothing is learned there"
    ]
