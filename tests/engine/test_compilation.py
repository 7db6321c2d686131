"""SOLVER.COMPILE: the same losses and weights to rounding."""

import pytest
import torch
from trainings import new_trainer

# A network of few kernels, since compiling them is what takes time.
TINY = (
    *("MODEL.RESNETS.OUT_FEATURES", ["stem"], "MODEL.SSD.IN_FEATURES", ["stem"]),
    *("MODEL.ROCK.IN_FEATURES", ["stem"], "MODEL.ROCK.WIDTH", 8, "MODEL.SSD.EXTRA_CHANNELS", [8]),
    *("MODEL.TASKS.AUXILIARY", ["Scene", "Depth"], "SOLVER.OPTIMIZER", "SGD"),
    *("SOLVER.WARMUP_ITERS", 0, "INPUT.SIZE", [32, 48], "SOLVER.MAX_ITER", 1),
)


def test_compiled_network_learns_the_same(rooms_root, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(rooms_root))
    plain = new_trainer(tmp_path, *TINY)
    compiled = new_trainer(tmp_path, *TINY, "SOLVER.COMPILE", "default")
    assert compiled.model.state_dict().keys() == plain.model.state_dict().keys()
    losses = []
    for trainer in (plain, compiled):
        trainer._trainer.run_step()
        losses.append(trainer._trainer.read_losses()[0])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(compiled.model.state_dict()[name], value, rtol=1e-4, atol=1e-5)
    # Other images with other labels are no reason to compile anew.
    with torch.compiler.set_stance("fail_on_recompile"):
        for _ in range(3):
            compiled._trainer.run_step()


@pytest.mark.parametrize(
    "options",
    [
        ("SOLVER.COMPILE", "reduce-overhead", "SOLVER.ACCUMULATE", 2),
        ("SOLVER.COMPILE", "default", "SOLVER.GRADIENT_CONFLICT_PERIOD", 5),
        ("SOLVER.COMPILE", "default", "MODEL.BALANCING.NAME", "GradientCosine"),
    ],
)
def test_what_a_compiled_network_cannot_do_is_one_line(rooms_root, tmp_path, monkeypatch, options):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(rooms_root))
    with pytest.raises(ValueError, match=r"SOLVER\.COMPILE"):
        new_trainer(tmp_path, *TINY, *options)


def test_a_detector_alone_is_refused(rooms_root, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(rooms_root))
    with pytest.raises(ValueError, match=r"META_ARCHITECTURE is SSD; it must be MultiTask"):
        new_trainer(tmp_path, *TINY, "MODEL.META_ARCHITECTURE", "SSD")
