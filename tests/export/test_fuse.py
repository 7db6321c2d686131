"""The folded model is the model, to rounding."""

import pytest
import torch
from command_line import run
from tiny import SIZE, item, tiny_cfg, tiny_model
from torch import nn

from rock_d2.engine import fast_inference
from rock_d2.engine.compilation import compiler_problem
from rock_d2.export.fuse import (
    BATCH_NORMS,
    FusionInPlace,
    StackedHead,
    inference_copy,
    num_parts,
)
from rock_d2.modeling.fusions.fusion import build_fusion
from rock_d2.visualization import recorded_encodings

DETECTION = ["MODEL.ROCK.PREDICT_AUXILIARY", False]
# The encoding is so wide for its trunk that merging pays.
MERGING = ["MODEL.ROCK.WIDTH", 32, "MODEL.ROCK.NORMALS.CHANNELS", 129]
CASES = {
    "frozen": ["MODEL.NECK.NAME", "ROCK"],
    "trained": ["MODEL.NECK.NAME", "ROCK", "MODEL.RESNETS.NORM", "BN", "MODEL.SSD.NORM", "BN"],
    "product": ["MODEL.NECK.NAME", "ROCK", "MODEL.ROCK.FUSION.NAME", "ProductFusion", *DETECTION],
    "merged, other norm": [
        "MODEL.NECK.NAME",
        "ROCK",
        "MODEL.ROCK.NORM",
        "GN",
        *MERGING,
        *DETECTION,
    ],
}
BATCH = [item(seed, labels=()) for seed in (0, 1)]


@torch.no_grad()
def lively_model(options: list) -> nn.Module:
    """With statistics and shifts that no initialisation has."""
    model = tiny_model(*options, "MODEL.SSD.SCORE_THRESH_TEST", 0.0).eval()
    generator = torch.Generator().manual_seed(0)
    for norm in model.modules():
        if isinstance(norm, BATCH_NORMS):
            for values, low in ((norm.weight, 0.5), (norm.bias, -0.5)):
                values.data.uniform_(low, low + 1, generator=generator)
            norm.running_mean.uniform_(-0.5, 0.5, generator=generator)
            norm.running_var.uniform_(0.5, 2, generator=generator)
    outputs = network(model)
    for layers, output in zip((model.head.cls_score, model.head.bbox_pred), outputs, strict=False):
        for layer in layers:
            layer.weight.data /= output.std()
            layer.bias.data.normal_(generator=generator)
    return model


def network(model: nn.Module) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    features, aux = model.neck(model.backbone(model.normalize(model.stack_images(BATCH))))
    logits, deltas, _ = model.head(features)
    return logits, deltas, aux


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
@torch.no_grad()
def test_folded_model_is_the_model_to_rounding(options):
    cfg = tiny_cfg(*options)
    model = lively_model(options).double()
    folded = inference_copy(model, cfg)
    assert not any(isinstance(module, BATCH_NORMS) for module in folded.modules())
    assert isinstance(folded.head, StackedHead)
    # In double precision only a real difference is as large as this.
    expected, found = network(model), network(folded)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    for output, wanted in zip(folded(BATCH), model(BATCH), strict=True):
        boxes, truth = output["instances"], wanted["instances"]
        assert len(truth) > 20
        assert torch.equal(boxes.pred_classes, truth.pred_classes)
        torch.testing.assert_close(boxes.scores, truth.scores)
        torch.testing.assert_close(boxes.pred_boxes.tensor, truth.pred_boxes.tensor)


def test_encoders_are_merged_only_where_that_saves_operations():
    """512 channels behind a trunk of 32: 32 * 512 against (32 + 512) * K, so from K = 31 on."""
    options = [*CASES["merged, other norm"], "MODEL.ROCK.DEPTH.CHANNELS", 30]
    folded = inference_copy(lively_model(options), tiny_cfg(*options))
    merged = {n: isinstance(layer, nn.Identity) for n, layer in folded.neck.encoders.items()}
    assert merged == {"scene": False, "depth": False, "normals": True}
    assert folded.neck.fusion.decoders["normals"].weight.shape == (512, 32, 1, 1)


@pytest.mark.parametrize("name", ["SumFusion", "ProductFusion"])
@pytest.mark.parametrize("switched_off", [[], ["first"], ["first", "second"]])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@torch.no_grad()
def test_fusion_in_place_is_the_fusion(name, switched_off, memory_format):
    widths = {"first": 5, "second": 4}
    generator = torch.Generator().manual_seed(0)
    fusion = build_fusion(
        name, out_channels=6, encoding_channels=widths, norm="", switched_off=switched_off
    ).eval()
    x, *encodings = (
        torch.randn(3, channels, 4, 5, generator=generator).to(memory_format=memory_format)
        for channels in (6, *widths.values())
    )
    encodings = dict(zip(widths, encodings, strict=True))
    expected = fusion(x, encodings)
    assert torch.equal(expected, x) == (len(switched_off) == 2)
    found = FusionInPlace(fusion)(x, encodings)
    torch.testing.assert_close(found, expected)
    assert found is x


@pytest.mark.parametrize(
    ("shape", "parts"),
    [
        # An image has maps of 64 * 480 * 640 = 19 660 800 bytes; those of two are over 2 ** 25.
        ((8, 480, 640), 8),
        # A quarter of that, so that six images are kept; 8 are not split into 6 and 2 but halves.
        ((6, 240, 320), 1),
        ((8, 240, 320), 2),
        ((8, 120, 160), 1),
        # No part has less than an image.
        ((3, 1200, 1600), 3),
    ],
)
def test_a_batch_has_as_many_parts_as_its_largest_maps_need(shape, parts):
    count, height, width = shape
    assert num_parts(count, 3, height, width) == parts


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@torch.no_grad()
def test_large_batches_are_predicted_in_parts(monkeypatch):
    """Two images at once are kept, so that five are three parts of two, two and one."""
    height, width = SIZE
    monkeypatch.setattr(fast_inference, "KEPT_BYTES", 2 * 64 * height * width)
    model = lively_model(CASES["frozen"]).double()
    folded = inference_copy(model, tiny_cfg(*CASES["frozen"]))
    images = model.stack_images([item(seed, labels=()) for seed in range(5)])
    sizes = []
    folded.backbone.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    with recorded_encodings(model) as expected_encodings:
        expected = model.predict(images)
    with recorded_encodings(folded) as encodings:
        found = folded.predict(images)
    assert sizes == [2, 2, 1]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(encodings, expected_encodings, rtol=1e-9, atol=1e-9)
    # A traced program takes any number of images at once.
    sizes.clear()
    torch.jit.trace(lambda batch: folded.predict(batch)[:3], images, check_trace=False)
    assert sizes == [5]


def test_the_model_itself_stays_as_it_is():
    model = tiny_model(*CASES["trained"]).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded = inference_copy(model, tiny_cfg(*CASES["trained"]))
    assert model.training and not folded.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert inference_copy(model, tiny_cfg("TEST.FOLD", False)) is model


# A network of few kernels, since compiling them is what takes time.
COMPILED = [
    *("MODEL.NECK.NAME", "ROCK", "INPUT.SIZE", [32, 32], "TEST.COMPILE", True, *DETECTION),
    *("MODEL.RESNETS.OUT_FEATURES", ["res2"], "MODEL.ROCK.IN_FEATURE", "res2"),
    *("MODEL.SSD.IN_FEATURES", ["res2"], "MODEL.SSD.EXTRA_CHANNELS", [16]),
]


@torch.no_grad()
def test_compiled_copy_predicts_the_same():
    problem = compiler_problem(torch.device("cpu"))
    if problem:
        pytest.skip(problem)
    model = tiny_model(*COMPILED).eval()
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (2, 3, 32, 32), generator=generator, dtype=torch.uint8)
    found = inference_copy(model, tiny_cfg(*COMPILED)).predict(images)
    for values, expected in zip(found[:2], model.predict(images)[:2], strict=True):
        assert (values - expected).norm() < 1e-5 * expected.norm()


def test_without_a_compiler_the_copy_predicts_as_it_is(tmp_path):
    """In another process, since this one may have found a compiler."""
    script = f"""if True:
        import sys
        sys.path.insert(0, "tests/modeling")
        from tiny import tiny_cfg, tiny_model
        from rock_d2.export.fuse import inference_copy
        options = {COMPILED!r}
        copy = inference_copy(tiny_model(*options), tiny_cfg(*options))
        print(copy([dict(image=copy.pixel_mean.byte().expand(3, 32, 32))])[0].keys())
    """
    done = run(
        "-c", script, root=tmp_path, CXX="/no/compiler", TORCHINDUCTOR_CACHE_DIR=f"{tmp_path}"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "dict_keys(['instances'])\n"
    assert "Nothing is compiled, as torch.compile does not work here" in done.stderr
