"""Inference: NMS, thresholds, output sizes and auxiliary predictions."""

import pytest
import torch
from tiny import SIZE, item, random_boxes, tiny_model
from torchvision.ops import clip_boxes_to_image, nms

from rock_d2.modeling.ssd.postprocessing import detect

OPTIONS = {"score_thresh": 0.2, "num_candidates": 150, "nms_thresh": 0.3, "num_kept": 20}


def random_scores(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores (3, 60, 4) and boxes (3, 60, 4), some of which leave the image."""
    torch.manual_seed(seed)
    boxes = torch.stack([random_boxes(60, size=SIZE, smallest=10) for _ in range(3)])
    return torch.rand(3, 60, 4), boxes + 20 * torch.randn(3, 60, 1)


def one_by_one(scores: torch.Tensor, boxes: torch.Tensor) -> list[tuple]:
    """Detections of one image, class by class: (score, class, box)."""
    limit = scores.flatten().sort(descending=True).values[OPTIONS["num_candidates"] - 1]
    clipped = clip_boxes_to_image(boxes, SIZE)
    has_area = (clipped[:, 2:] > clipped[:, :2]).all(dim=1)
    found = []
    for c in range(scores.shape[1]):
        chosen = (scores[:, c] >= limit) & (scores[:, c] > OPTIONS["score_thresh"]) & has_area
        kept = nms(clipped[chosen], scores[chosen, c], OPTIONS["nms_thresh"])
        found += [(float(scores[chosen, c][k]), c, clipped[chosen][k].tolist()) for k in kept]
    return sorted(found, reverse=True)[: OPTIONS["num_kept"]]


@pytest.mark.parametrize("seed", range(4))
def test_batched_nms_equals_a_loop_over_images_and_classes(seed):
    scores, boxes = random_scores(seed)
    results = detect(scores, boxes, image_size=SIZE, **OPTIONS)
    for i, result in enumerate(results):
        expected = one_by_one(scores[i], boxes[i])
        assert result.scores.tolist() == [score for score, _, _ in expected]
        assert result.pred_classes.tolist() == [c for _, c, _ in expected]
        torch.testing.assert_close(
            result.pred_boxes.tensor, torch.tensor([box for _, _, box in expected])
        )


def test_limits_are_kept():
    scores, _ = random_scores(0)
    boxes = random_boxes(60, size=SIZE, smallest=10).expand(3, -1, -1)
    free = {"score_thresh": 0.0, "num_candidates": 240, "nms_thresh": 1.0, "num_kept": 240}

    def found(**limit) -> list:
        return detect(scores, boxes, image_size=SIZE, **{**free, **limit})

    assert [len(r) for r in found()] == [240] * 3
    assert [len(r) for r in found(num_kept=7)] == [7] * 3
    assert [len(r) for r in found(num_candidates=11)] == [11] * 3
    for i, result in enumerate(found(score_thresh=0.75)):
        assert len(result) == (scores[i] > 0.75).sum()
        assert result.scores.min() > 0.75
        assert torch.equal(result.scores, result.scores.sort(descending=True).values)
    assert [len(r) for r in found(score_thresh=1.0)] == [0] * 3


def test_a_box_may_be_two_classes():
    scores = torch.tensor([[[0.9, 0.8], [0.7, 0.1]]])
    boxes = torch.tensor([[[10.0, 10, 50, 50], [12.0, 10, 50, 50]]])
    (result,) = detect(scores, boxes, image_size=SIZE, **OPTIONS)
    assert result.pred_classes.tolist() == [0, 1]
    assert result.scores.tolist() == pytest.approx([0.9, 0.8])


def test_a_box_outside_the_image_is_no_detection():
    boxes = torch.tensor([[[-30.0, 10, -5, 50], [12.0, 10, 50, 50]]])
    (result,) = detect(torch.tensor([[[0.9], [0.7]]]), boxes, image_size=SIZE, **OPTIONS)
    assert result.scores.tolist() == pytest.approx([0.7])


@pytest.fixture(scope="module")
def outputs() -> list[dict]:
    """What the model says of one image, asked for at two sizes."""
    model = tiny_model("MODEL.NECK.NAME", "ROCK", "MODEL.SSD.SCORE_THRESH_TEST", 0.0).eval()
    image = item(0)["image"]
    with torch.no_grad():
        return model([{"image": image}, {"image": image, "height": 192, "width": 384}])


def test_boxes_are_scaled_to_the_output(outputs):
    first, second = (output["instances"] for output in outputs)
    assert first.image_size == SIZE and second.image_size == (192, 384)
    assert 0 < len(first) <= 100
    assert len(first) == len(second)
    # Twice as high and three times as wide.
    torch.testing.assert_close(
        second.pred_boxes.tensor, first.pred_boxes.tensor * torch.tensor([3.0, 2, 3, 2])
    )
    assert torch.equal(first.pred_classes, second.pred_classes)
    assert second.pred_classes.max() < 3


def test_auxiliary_predictions_are_in_their_units(outputs):
    for output, size in zip(outputs, (SIZE, (192, 384)), strict=True):
        assert output["depth"].shape == (1, *size) and (output["depth"] > 0).all()
        assert output["normals"].shape == (3, *size)
        torch.testing.assert_close(output["normals"].norm(dim=0), torch.ones(size))
        assert output["scene"].shape == (5,)
        assert float(output["scene"].sum()) == pytest.approx(1)


@pytest.mark.parametrize("neck", ["ROCK", "FlatMTL"])
def test_detection_alone(neck):
    options = ["MODEL.NECK.NAME", neck, "MODEL.SSD.SCORE_THRESH_TEST", 0.0]
    with torch.no_grad():
        batch = [item(0, labels=())]
        everything = tiny_model(*options).eval()(batch)[0]
        model = tiny_model(*options, "MODEL.ROCK.PREDICT_AUXILIARY", False).eval()
        alone = model(batch)[0]
    assert set(everything) == {"instances", "depth", "normals", "scene"}
    assert set(alone) == {"instances"}
    assert torch.equal(alone["instances"].scores, everything["instances"].scores)
    assert torch.equal(
        alone["instances"].pred_boxes.tensor, everything["instances"].pred_boxes.tensor
    )


def test_inference_decodes_what_training_coded():
    """A head that predicts the coded truths finds them."""
    model = tiny_model().eval()
    batch = [item(0, objects=2)]
    with torch.no_grad():
        features = model.neck(model.backbone(model.normalize(model.stack_images(batch))))[0]
        logits, _, boxes = model.head(features)
        truths = batch[0]["instances"].gt_boxes.tensor
        nearest = torch.cdist(boxes, truths).argmin(dim=0)
        deltas = torch.zeros(1, len(boxes), 4)
        deltas[0, nearest] = model.box2box_transform.get_deltas(boxes[nearest], truths)
        logits = torch.zeros_like(logits)
        logits[..., -1] = 20
        logits[0, nearest, 1] = 40
        found = model.inference(logits, deltas, boxes, {}, batch)[0]["instances"]
    order = found.pred_boxes.tensor[:, 0].argsort()
    torch.testing.assert_close(
        found.pred_boxes.tensor[order], truths[truths[:, 0].argsort()], atol=1e-3, rtol=0
    )
    assert found.pred_classes.tolist() == [1, 1]
