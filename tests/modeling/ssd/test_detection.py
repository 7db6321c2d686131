"""Inference: NMS, thresholds, output sizes and padding."""

import pytest
import torch
from detectron2.layers import batched_nms
from detectron2.structures import Instances
from tiny import SIZE, bare_ssd, item, random_boxes, tiny_model
from torchvision.ops import clip_boxes_to_image

from rock_d2.modeling.ssd.detection import detect

OPTIONS = {"score_thresh": 0.2, "num_candidates": 150, "nms_thresh": 0.3, "num_kept": 20}
SIZES = [SIZE, (60, 128), (96, 70)]


def random_scores(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores (3, 60, 4) and boxes (3, 60, 4), some of which leave the image."""
    torch.manual_seed(seed)
    boxes = torch.stack([random_boxes(60, size=SIZE, smallest=10) for _ in range(3)])
    return torch.rand(3, 60, 4), boxes + 20 * torch.randn(3, 60, 1)


def one_image(scores: torch.Tensor, boxes: torch.Tensor, size: tuple[int, int]) -> Instances:
    """The same by Detectron2's NMS, from all scores and boxes of one image."""
    limit = scores.flatten().sort(descending=True).values[OPTIONS["num_candidates"] - 1]
    clipped = clip_boxes_to_image(boxes, size)
    has_area = (clipped[:, 2:] > clipped[:, :2]).all(dim=1, keepdim=True)
    chosen = (scores >= limit) & (scores > OPTIONS["score_thresh"]) & has_area
    box, classes = chosen.nonzero().unbind(dim=1)
    found = Instances(size, boxes=clipped[box], scores=scores[chosen], classes=classes)
    kept = batched_nms(found.boxes, found.scores, found.classes, OPTIONS["nms_thresh"])
    return found[kept[: OPTIONS["num_kept"]]]


@pytest.mark.parametrize("seed", range(3))
def test_a_batch_equals_detectron2s_nms_of_each_image(seed):
    scores, boxes = random_scores(seed)
    results = detect(scores, boxes, image_sizes=SIZES, **OPTIONS)
    for i, (result, size) in enumerate(zip(results, SIZES, strict=True)):
        expected = one_image(scores[i], boxes[i], size)
        assert result.image_size == size and len(result) > 5
        assert torch.equal(result.scores, expected.scores)
        assert torch.equal(result.pred_classes, expected.classes)
        assert torch.equal(result.pred_boxes.tensor, expected.boxes)


def test_outputs_have_the_size_that_is_asked_for():
    model = tiny_model("MODEL.NECK.NAME", "ROCK", "MODEL.SSD.SCORE_THRESH_TEST", 0.0).eval()
    image = item(0)["image"]
    with torch.no_grad():
        first, second = model([{"image": image}, {"image": image, "height": 192, "width": 384}])
    a, b = first["instances"], second["instances"]
    assert (a.image_size, b.image_size) == (SIZE, (192, 384)) and 0 < len(a) <= 100
    # Twice as high and three times as wide.
    torch.testing.assert_close(
        b.pred_boxes.tensor, a.pred_boxes.tensor * torch.tensor([3, 2, 3, 2])
    )
    assert torch.equal(a.pred_classes, b.pred_classes) and a.pred_classes.max() < 3
    for output, size in ((first, SIZE), (second, (192, 384))):
        assert output["depth"].shape == (1, *size) and (output["depth"] > 0).all()
        torch.testing.assert_close(output["normals"].norm(dim=0), torch.ones(size))
        assert float(output["scene"].sum()) == pytest.approx(1)


def test_inference_decodes_what_training_coded_and_nothing_in_the_padding():
    ssd = bare_ssd()
    torch.manual_seed(0)
    boxes = random_boxes(200, size=SIZE, smallest=16)
    truths = torch.tensor([[8.0, 10, 40, 60], [60.0, 20, 110, 80]])
    nearest = torch.cdist(boxes, truths).argmin(dim=0)
    deltas = torch.zeros(2, 200, 4)
    deltas[:, nearest] = ssd.box2box_transform.get_deltas(boxes[nearest], truths)
    logits = torch.zeros(2, 200, 4)
    logits[..., -1] = 20
    logits[:, nearest, 1] = 40
    sizes = [SIZE, (SIZE[0], 64)]
    whole, cut = ssd.inference(logits, deltas, boxes, sizes, [{}, {}])
    order = whole["instances"].pred_boxes.tensor[:, 0].argsort()
    found = whole["instances"][order]
    torch.testing.assert_close(found.pred_boxes.tensor, truths, atol=1e-3, rtol=0)
    assert found.pred_classes.tolist() == [1, 1]
    # The second truth reaches into the image, but its default box is centred beside it.
    torch.testing.assert_close(cut["instances"].pred_boxes.tensor, truths[:1], atol=1e-3, rtol=0)
