"""Training on several sets: classes by their names, labels that are kept, and repeated images."""

from itertools import islice

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from detectron2.structures import Boxes, BoxMode, Instances
from detectron2.utils.events import EventStorage
from tiny import detector_cfg, item, tiny_cfg

from rock_d2 import build_train_loader
from rock_d2.checkpoint.classes import names_by_kind
from rock_d2.classes import class_names, has_ignored_classes, places_of, renumbered, thing_classes
from rock_d2.data.records import training_dicts
from rock_d2.engine.setup import check_config
from rock_d2.evaluation.build import measurable
from rock_d2.tasks import build_tasks

# Name by name: the classes of a set, and those of each of its images' objects.
SETS = {
    "shelf": (["cup", "pot"], [["cup"], ["pot", "cup"], []]),
    "stove": (["pot", "lid"], [["lid", "pot"], ["pot"], None]),
}
UNION = ["cup", "pot", "lid"]


def dicts(name):
    classes, images = SETS[name]
    box = {"bbox": [0, 0, 4, 4], "bbox_mode": BoxMode.XYXY_ABS}
    records = [{"file_name": f"{name}{i}.png", "image_id": i, "scene_id": 1} for i in range(3)]
    for record, objects in zip(records, images, strict=True):
        if objects is not None:
            found = [box | {"category_id": classes.index(kind)} for kind in objects]
            record["annotations"] = found
    return records


@pytest.fixture(autouse=True)
def _sets():
    for name, (classes, _) in SETS.items():
        DatasetCatalog.register(name, lambda name=name: dicts(name))
        MetadataCatalog.get(name).thing_classes = classes
    yield
    for name in SETS:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def config(*options):
    return tiny_cfg("DATASETS.TRAIN", tuple(SETS), "MODEL.SSD.NUM_CLASSES", 0, *options)


@pytest.mark.parametrize("given", [[], ["lid", "pot"]])
def test_objects_have_the_numbers_of_the_detectors_classes(given):
    cfg = config("DATASETS.CLASSES", given)
    names = given or UNION
    assert class_names(cfg) == names
    for record in training_dicts(cfg):
        own, images = SETS[record["file_name"][:5]]
        objects = images[record["image_id"]]
        if objects is None:
            assert "annotations" not in record
            continue
        numbers = [found["category_id"] for found in record["annotations"]]
        assert [names[i] for i in numbers] == [kind for kind in objects if kind in names]
        assert {names[i] for i in record.get("ignored_classes", ())} == set(names) - set(own)
    # The dicts of the sets themselves stay as they are.
    assert DatasetCatalog.get("stove") == dicts("stove")


def test_kept_labels_and_repeats_are_of_each_set():
    cfg = config("DATASETS.KEEP_LABELS", ["all", "scene"], "DATASETS.REPEAT", [1, 3])
    assert class_names(cfg) == ["cup", "pot"]
    shelf, stove = (
        [r for r in training_dicts(cfg) if r["file_name"].startswith(name)] for name in SETS
    )
    assert shelf == dicts("shelf")
    assert [set(r) for r in stove] == [{"file_name", "image_id", "scene_id", "repeat"}] * 3
    # A pass has 3 + 3 x 3 images; with a share, one kind has 3 and the other 9.
    options = {"mapper": dict, "total_batch_size": 12, "seed": 0}
    for share, count in ((0.0, 12), (0.5, 18)):
        options["boxed_share"] = share
        batches = list(islice(build_train_loader(training_dicts(cfg), **options), 3))
        resumed = build_train_loader(training_dicts(cfg), start_batch=1, **options)
        assert list(islice(resumed, 2)) == batches[1:]
        names = [x["file_name"] for batch in batches for x in batch][:count]
        times = {"shelf": 1 if share == 0 else 3, "stove": 3}
        assert {n: names.count(n) for n in names} == {n: times[n[:5]] for n in names}
        assert len(set(names)) == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["DATASETS.REPEAT", [1]], r"DATASETS.REPEAT is \[1\]; .* value for each of"),
        (["DATASETS.REPEAT", [1, 0]], r"DATASETS.REPEAT is \[1, 0\]"),
        (["DATASETS.KEEP_LABELS", ["all", "boxs"]], "KEEP_LABELS: there is no boxs; .*boxes"),
        (["DATASETS.CLASSES", ["cup", "plate"]], "CLASSES: no training set has plate"),
        (["MODEL.META_ARCHITECTURE", "RetinaNet"], "META_ARCHITECTURE MultiTask"),
    ],
)
def test_settings_that_make_no_sense_are_named(options, message):
    cfg = config("MODEL.RETINANET.NUM_CLASSES", 0, *options)
    check_config(cfg)
    with pytest.raises(ValueError, match=message):
        build_train_loader(cfg)


def test_a_set_whose_labels_are_dropped_does_not_say_which_classes_there_are():
    for name, scenes in (("shelf", ["hall", "attic"]), ("stove", ["kitchen", "bar", "inn"])):
        MetadataCatalog.get(name).scene_classes = scenes
    options = ("MODEL.TASKS.AUXILIARY", ["Scene"], "MODEL.TASKS.SCENE.NUM_CLASSES", 0)
    cfg = config("DATASETS.KEEP_LABELS", ["boxes", "scene"], *options)
    (scene,) = build_tasks(cfg)
    assert scene.num_classes == 3
    build_train_loader(cfg)
    assert [list(measurable(cfg, name)) for name in SETS] == [[], [scene]]
    assert names_by_kind(cfg)["scene_classes"] == ["kitchen", "bar", "inn"]


def test_predictions_are_scored_as_the_test_sets_classes_of_the_same_name():
    found = Instances((9, 9), pred_boxes=Boxes(torch.rand(4, 4)), pred_classes=torch.arange(4) % 3)
    places = places_of(UNION, thing_classes("stove"))
    kept = renumbered({"instances": found}, places)["instances"]
    # Cup, pot, lid, cup: a stove has pots (0) and lids (1) alone.
    assert kept.pred_classes.tolist() == [0, 1]
    assert torch.equal(kept.pred_boxes.tensor, found.pred_boxes.tensor[1:3])
    assert found.pred_classes.tolist() == [0, 1, 2, 0]
    assert places_of(UNION, list(UNION)) is None


def class_gradients(model, batch, num_outputs):
    """Return the sum of the absolute gradients of each output for a class, over all predictors."""
    model.zero_grad()
    with EventStorage():
        losses = model(batch)
    sum(losses.values()).backward()
    layers = [p for n, p in model.named_parameters() if "cls_score" in n and "neck" not in n]
    sums = [p.grad.flatten(1) if p.dim() > 1 else p.grad[:, None] for p in layers]
    return sum(g.unflatten(0, (-1, num_outputs)).abs().sum(dim=(0, 2)) for g in sums)


@pytest.mark.parametrize("name", ["ssd", "retinanet", "fcos"])
def test_a_class_that_a_set_does_not_annotate_is_no_negative_there(name):
    """The gradient of its outputs is exactly zero for the set's images, and not for others'."""
    classes = ["a", "b", "c"]
    sets = ("DATASETS.TRAIN", ("shelf",), "DATASETS.TEST", (), "DATASETS.CLASSES", classes)
    numbers = [x for n in ("SSD", "RETINANET", "FCOS") for x in (f"MODEL.{n}.NUM_CLASSES", 3)]
    model = build_model(detector_cfg(name, *sets, *numbers, "MODEL.DEVICE", "cpu")).train()
    batch = [item(seed, labels=()) for seed in range(3)]
    for image in batch:
        image["instances"].gt_classes[:] = 0
    outputs = 3 + (name == "ssd")
    assert (class_gradients(model, batch, outputs) > 0).all()
    for image in batch:
        image["ignored_classes"] = [1]
    gradients = class_gradients(model, batch, outputs)
    assert gradients[1] == 0 and (gradients > 0).sum() == outputs - 1
    # With unknown boxes in the batch, and not for the image that knows the class.
    del batch[0]["instances"], batch[1]["ignored_classes"]
    assert (class_gradients(model, batch, outputs) > 0).all()
    batch[1]["ignored_classes"], batch[0]["ignored_classes"] = [1], []  # nobody looked in 0
    assert class_gradients(model, batch, outputs)[1] == 0


@pytest.mark.parametrize(
    "options",
    [
        ("TEST.PRECISE_BN.ENABLED", True),
        ("DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler"),
    ],
)
def test_settings_of_detectron2_that_do_nothing_here_are_refused(options):
    with pytest.raises(ValueError, match=rf"{options[0].split('.')[1]}.* not supported"):
        check_config(config(*options))


def test_a_set_that_knows_no_class_lacks_none():
    DatasetCatalog.register("depths", list)
    names = ("shelf", "depths")
    assert not has_ignored_classes(tiny_cfg("DATASETS.TRAIN", names, "MODEL.SSD.NUM_CLASSES", 0))
    DatasetCatalog.remove("depths")


def test_a_detector_that_cannot_ignore_a_class_says_which_can():
    cfg = detector_cfg("faster_rcnn", "DATASETS.TRAIN", tuple(SETS), "MODEL.DEVICE", "cpu")
    with pytest.raises(ValueError, match=r"GeneralizedRCNN cannot ignore.*SSD, RetinaNet and FCOS"):
        build_model(cfg)


def test_a_set_that_lacks_a_label_has_no_gradient_from_its_task(rooms_root, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(rooms_root))
    cfg = tiny_cfg(
        *("DATASETS.TRAIN", ("rooms_train", "rooms_val"), "DATASETS.KEEP_LABELS", ["all", "depth"]),
        *("MODEL.SSD.NUM_CLASSES", 0, "MODEL.TASKS.SCENE.NUM_CLASSES", 27),
        *("MODEL.NECK.NAME", "ROCK", "SOLVER.IMS_PER_BATCH", 4, "DATALOADER.NUM_WORKERS", 0),
        *("DATALOADER.BOXED_SHARE", 0.5),
    )
    batch = next(iter(build_train_loader(cfg)))
    target = [x for x in batch if "instances" not in x]
    assert len(target) == 2 and all("depth" in x and "scene" not in x for x in target)
    model = build_model(cfg).train()
    for name, loss in model(target).items():
        gradients = torch.autograd.grad(
            loss, list(model.parameters()), retain_graph=True, allow_unused=True
        )
        total = sum(g.abs().sum() for g in gradients if g is not None)
        assert (total > 0) == (name == "loss_depth"), name
