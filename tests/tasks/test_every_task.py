"""The laws of all registered tasks; a new one is tested at once."""

import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import Metadata
from detectron2.data import transforms as T
from fvcore.transforms.transform import PadTransform, ScaleTransform, Transform, VFlipTransform
from tiny import tiny_cfg

from rock_d2 import TASK_REGISTRY, Task
from rock_d2.layers import block_average, block_repeat
from rock_d2.tasks import Depth, Normals
from rock_d2.tasks.class_maps import ClassMapTask
from rock_d2.tasks.geometry import RULES
from rock_d2.tasks.maps import MapTask

CPU = torch.device("cpu")
HEIGHT, WIDTH = SIZE = (24, 32)
# One of each transform that has a rule, for an image of SIZE.
TRANSFORMS: dict[type[Transform], Transform] = {
    T.CropTransform: T.CropTransform(3, 5, 16, 12),
    PadTransform: PadTransform(4, 3, 4, 3),
    T.ResizeTransform: T.ResizeTransform(*SIZE, 30, 41),
    ScaleTransform: ScaleTransform(*SIZE, 12, 16, interp="nearest"),
    T.HFlipTransform: T.HFlipTransform(WIDTH),
    VFlipTransform: VFlipTransform(HEIGHT),
    T.RotationTransform: T.RotationTransform(*SIZE, 15, expand=False),
    T.NoOpTransform: T.NoOpTransform(),
    T.BlendTransform: T.BlendTransform(np.zeros(3), 0.5, 0.5),
    T.ColorTransform: T.ColorTransform(lambda image: image // 2),
}


METADATA = Metadata(name="any", stuff_classes=[f"stuff {i}" for i in range(40)])


def every_task() -> list[Task]:
    tasks = [TASK_REGISTRY.get(name)().for_data(METADATA) for name, _ in TASK_REGISTRY]
    return [*tasks, Depth(loss_name="l1"), Normals(loss_name="l1")]


def record_of(task: Task, folder: Path) -> dict[str, Any]:
    """A dataset dict with a random label, of which a part is unknown."""
    record = {"file_name": "image.png", "height": HEIGHT, "width": WIDTH}
    if not isinstance(task, MapTask):
        return record | {task.field: task.num_outputs - 1}
    rng = np.random.default_rng(0)
    levels = (0, task.num_classes) if isinstance(task, ClassMapTask) else (1, 200)
    pixels = rng.integers(*levels, (*SIZE, task.label_channels)).astype(task.stored_type)
    pixels[:8] = task.unknown_level
    cv2.imwrite(str(folder / "label.png"), pixels)
    return record | {task.field: str(folder / "label.png")}


def batch_of(task: Task, folder: Path) -> list[dict[str, Any]]:
    """Two images with a label, the second smaller, and one without."""
    label = task.load(record_of(task, folder))
    batch = []
    for transform in (T.NoOpTransform(), T.ResizeTransform(*SIZE, 12, 16)):
        transforms = T.TransformList([transform])
        image = transforms.apply_image(np.zeros((*SIZE, 3), np.uint8)).copy()
        batch.append(
            {
                "image": torch.from_numpy(image.transpose(2, 0, 1)),
                task.name: task.to_tensor(task.transform(label, transforms)),
            }
        )
    return [*batch, {"image": batch[0]["image"]}]


# Metrics of which 0 is the best.
ERRORS = (
    *("rmse", "rmse_log", "abs_rel", "sq_rel", "mean_abs", "d1", "bce"),
    *("mean_angle", "median_angle"),
)
each_task = pytest.mark.parametrize("task", every_task(), ids=lambda task: task.name)


@each_task
def test_settings_come_from_the_config(task):
    cfg = tiny_cfg()
    node = cfg.MODEL.TASKS[task.name.upper()]
    assert type(task).from_config(tiny_cfg().MODEL.TASKS).loss_weight == node.LOSS_WEIGHT
    node.LOSS_WEIGHT = 0.125
    changed = type(task).from_config(cfg.MODEL.TASKS)
    assert changed.loss_weight == 0.125
    assert pickle.loads(pickle.dumps(changed)) == changed != task
    assert task.channels % task.num_outputs == 0


@each_task
def test_predictions_have_a_unit(task):
    assert task.unit


@pytest.mark.parametrize("kind", TRANSFORMS, ids=lambda kind: kind.__name__)
@each_task
def test_labels_follow_their_image(task, kind, tmp_path):
    assert TRANSFORMS.keys() == RULES.keys(), "an example of each rule"
    label = task.load(record_of(task, tmp_path))
    transforms = T.TransformList([TRANSFORMS[kind]])
    moved = task.to_tensor(task.transform(label, transforms))
    if isinstance(task, MapTask):
        image = transforms.apply_image(np.zeros((*SIZE, 3), np.uint8))
        assert moved.shape == (task.label_channels, *image.shape[:2])
        assert moved.dtype == torch.float32 and moved.isfinite().all()
    else:
        assert moved == label


@each_task
def test_an_image_without_a_label_is_no_error(task):
    record = {"file_name": "image.png", "height": HEIGHT, "width": WIDTH}
    assert task.load(record) is None and task.read(record) is None
    batch = [{"image": torch.zeros(3, *SIZE)}] * 2
    maps = torch.randn(2, task.num_outputs, 3, 4, requires_grad=True)
    loss = task.loss(task.activation(maps), task.collate(batch, size=SIZE, device=CPU))
    assert loss == 0
    assert (torch.autograd.grad(loss, maps)[0] == 0).all()


@each_task
def test_loss_is_fp32_and_the_known_images_own(task, tmp_path):
    torch.manual_seed(0)
    batch = batch_of(task, tmp_path)
    maps = torch.randn(3, task.num_outputs, 6, 8, requires_grad=True)
    target = task.collate(batch, size=SIZE, device=CPU)
    loss = task.loss(task.activation(maps), target)
    (gradient,) = torch.autograd.grad(loss, maps)
    assert loss.shape == () and loss.isfinite() and loss > 0
    assert gradient.isfinite().all() and (gradient[2] == 0).all()
    assert gradient[0].abs().max() > 0 and gradient[1].abs().max() > 0
    if task.is_map:
        # The second image fills half of each side; rows 0 to 8 of the first are unknown.
        assert (gradient[1, :, 3:] == 0).all() and (gradient[1, :, :, 4:] == 0).all()
        assert (gradient[0, :, :2] == 0).all()
    alone = task.loss(task.activation(maps[:2]), task.collate(batch[:2], size=SIZE, device=CPU))
    torch.testing.assert_close(alone, loss)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert task.loss(task.activation(maps.bfloat16()), target).dtype == torch.float32


@each_task
def test_the_encoding_of_a_label_predicts_it(task, tmp_path):
    target = task.collate(batch_of(task, tmp_path), size=SIZE, device=CPU)
    maps, known = task.target_maps(target, SIZE)
    encoding = block_repeat(maps, task.channels)
    assert encoding.shape == (3, task.channels, *SIZE)
    prediction = task.activation(block_average(encoding, task.num_outputs))
    for image in range(2):
        found = task.postprocess(prediction[image], SIZE)
        if task.is_map:
            # 16 of 24 rows are known; the second image has half the size.
            assert known[image].sum() == 16 * WIDTH / 4**image
            where = known[image, 0].numpy()
            values, label = task.as_values(found.numpy()), task.as_values(target[image].numpy())
            np.testing.assert_allclose(values[where], label[where], rtol=1e-5, atol=1e-6)
        else:
            assert known[image].all() and found.argmax() == target[image]
    assert not known[2].any()


@pytest.mark.parametrize("task", [t for t in every_task() if t.is_map], ids=lambda t: t.name)
def test_labels_of_another_form_are_refused(task):
    shapes = (SIZE, (9, *SIZE), (task.label_channels, 5, 6))
    for label in map(torch.zeros, shapes):
        batch = [{"image": torch.zeros(3, *SIZE), task.name: label}]
        with pytest.raises(ValueError, match=f"`{task.name}` is "):
            task.collate(batch, size=SIZE, device=CPU)


def perfect(task: Task, values: np.ndarray | int) -> np.ndarray:
    """The prediction that says what the label says."""
    if isinstance(values, int):
        return np.eye(task.num_outputs, dtype=np.float32)[values]
    if task.is_map and task.num_outputs != task.label_channels:
        return np.float32(values == np.arange(task.num_outputs)[:, None, None])
    return np.moveaxis(values.reshape(*SIZE, -1), 2, 0)


@each_task
def test_a_perfect_prediction_has_the_best_metrics(task, tmp_path):
    record, meter = record_of(task, tmp_path), task.meter()
    values = task.read(record)
    counts = meter.count(perfect(task, values), values)
    assert counts.dtype == np.float64 and counts.ndim == 1 and counts.any()
    metrics = meter.metrics(2 * counts)
    assert metrics and metrics == pytest.approx(meter.metrics(counts))
    # Up to the width of a histogram's bin. One recall alone has no AP.
    best = {name: 0 if name in {*ERRORS, "AP"} else 1 for name in metrics}
    assert metrics == pytest.approx(best, abs=0.01)
    if isinstance(task, MapTask):
        unknown = np.full_like(values, task.unknown_value)
        assert not meter.count(perfect(task, values), unknown).any()
    assert task.check(record, Metadata(name="any"))[1] == pytest.approx(
        16 / 24 if task.is_map else 1
    )


@each_task
def test_labels_and_predictions_of_any_size_are_drawn(task, tmp_path):
    torch.manual_seed(0)
    values, metadata = task.read(record_of(task, tmp_path)), Metadata(name="any")
    maps = torch.randn(1, task.num_outputs, 3, 4)
    prediction = task.activation(maps)
    if task.is_map:
        assert prediction.shape == maps.shape
        torch.testing.assert_close(task.activation(prediction), prediction)
    prediction = task.postprocess(prediction[0].bfloat16(), SIZE)
    assert prediction.isfinite().all() and prediction.dtype != torch.bfloat16
    assert not task.is_map or prediction.shape[-2:] == SIZE
    for shown in (values, task.as_values(prediction.numpy())):
        for reference in (None, values):
            drawing = task.draw(shown, metadata, reference=reference)
            assert drawing.caption.startswith(task.name) and "\n" not in drawing.caption
            if task.is_map:
                assert drawing.image.shape == (*SIZE, 3) and drawing.image.dtype == np.uint8
