"""Training by a config."""

import logging
import weakref
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, hooks
from detectron2.engine.defaults import create_ddp_model
from detectron2.engine.train_loop import TrainerBase
from detectron2.utils import comm
from detectron2.utils.events import (
    CommonMetricPrinter,
    EventStorage,
    EventWriter,
    JSONWriter,
    TensorboardXWriter,
)
from torch import distributed, nn

from rock_d2.checkpoint.identity import identity
from rock_d2.checkpoint.training import TrainingCheckpointer
from rock_d2.data import build_test_loader, build_train_loader
from rock_d2.engine.ema import WeightAverage
from rock_d2.engine.gradient_conflict import GradientConflict
from rock_d2.engine.hooks import Checkpoints, Evaluations, LossReader
from rock_d2.engine.optim import build_lr_scheduler, build_optimizer
from rock_d2.engine.results import build_gain, draw_box_charts, draw_few, report
from rock_d2.engine.setup import set_up_logging
from rock_d2.engine.step import TrainingStep
from rock_d2.evaluation.build import build_evaluator
from rock_d2.evaluation.protocols import protocol_name
from rock_d2.modeling.balancing import build_balancer
from rock_d2.modeling.multi_task import MultiTask
from rock_d2.registry import check_choice
from rock_d2.visualization import training_chart, write_picture

logger = logging.getLogger(__name__)

# The average that Detectron2's dense detectors keep in an attribute and not in a buffer.
NORMALIZER = "loss_normalizer"
# Of torch.compile.
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


class RockTrainer(DefaultTrainer):
    """Detectron2's DefaultTrainer with this project's data, step, checkpoints and log."""

    def __init__(self, cfg: CfgNode):
        # DefaultTrainer's own builds a step that trains on GPUs only.
        TrainerBase.__init__(self)
        set_up_logging()
        self.cfg = cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        self.max_iter = cfg.SOLVER.MAX_ITER
        if self.max_iter < 1:
            raise ValueError(f"SOLVER.MAX_ITER is {self.max_iter}; it must be 1 or more")
        self._process_state: dict[str, Any] | None = None

        model = self.build_model(cfg)
        balancer = build_balancer(cfg).to(cfg.MODEL.DEVICE)
        optimizer = self.build_optimizer(cfg, model)
        if list(balancer.parameters()):
            optimizer.add_param_group({"params": list(balancer.parameters()), "weight_decay": 0.0})
        loader = self.build_train_loader(cfg)
        self.average = WeightAverage(model, cfg.MODEL_EMA.DECAY) if cfg.MODEL_EMA.ENABLED else None
        # One process has one GPU, its current one.
        devices = None if cfg.MODEL.DEVICE == "cpu" else [torch.cuda.current_device()]
        parallel = create_ddp_model(model, broadcast_buffers=False, device_ids=devices)
        self._trainer = TrainingStep(cfg, parallel, loader, optimizer, balancer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = TrainingCheckpointer(
            cfg,
            model=model,
            identity=identity(cfg, num_images=len(loader.dataset.reader)),
            average=self.average,
            trainer=weakref.proxy(self),
        )
        self.register_hooks(self.build_hooks())
        # What is wrong with a test set shows now, and not at the first evaluation.
        for name in cfg.DATASETS.TEST:
            self.build_test_loader(cfg, name)
            self.build_evaluator(cfg, name)

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        model = super().build_model(cfg).to(memory_format=torch.channels_last)
        if not isinstance(model, MultiTask):
            raise ValueError(
                f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE}; it must be MultiTask, "
                "and the detector MODEL.DETECTOR"
            )
        if cfg.SOLVER.COMPILE:
            check_choice(cfg.SOLVER.COMPILE, COMPILE_MODES, setting="SOLVER.COMPILE")
            # With the neck. The rest of a detector has other shapes for every image.
            model.backbone.compile(mode=cfg.SOLVER.COMPILE)
        return model

    # What DefaultTrainer calls, and subclasses replace.
    build_optimizer = staticmethod(build_optimizer)
    build_lr_scheduler = staticmethod(build_lr_scheduler)
    build_train_loader = staticmethod(build_train_loader)
    build_test_loader = staticmethod(build_test_loader)
    build_evaluator = staticmethod(build_evaluator)

    def build_hooks(self) -> list[hooks.HookBase]:
        """Return the hooks in their order: a checkpoint holds the state of all that come before."""
        cfg, solver = self.cfg, self.cfg.SOLVER
        found = [
            hooks.LRScheduler(),
            LossReader(self._trainer, period=solver.LOG_PERIOD, batch_size=solver.IMS_PER_BATCH),
        ]
        if solver.GRADIENT_CONFLICT_PERIOD:
            precision = self._trainer.precision
            found.append(GradientConflict(solver.GRADIENT_CONFLICT_PERIOD, precision=precision))
        if cfg.DATASETS.TEST:
            gain = build_gain(cfg)
            prefix = f"{cfg.DATASETS.TEST[0]}/" if len(cfg.DATASETS.TEST) > 1 and not gain else ""
            found.append(
                Evaluations(
                    self.evaluate,
                    self.checkpointer,
                    period=cfg.TEST.EVAL_PERIOD,
                    metric=prefix + cfg.TEST.BEST_METRIC,
                    mode=cfg.TEST.BEST_MODE,
                    protocol=protocol_name(cfg, cfg.DATASETS.TEST[0]),
                    checkpoint_period=solver.CHECKPOINT_PERIOD,
                    **({"derived": gain} if gain else {}),
                )
            )
        return [*found, Checkpoints(self.checkpointer, solver.CHECKPOINT_PERIOD)]

    def build_writers(self) -> Sequence[EventWriter]:
        """Return Detectron2's; values are means over SOLVER.LOG_PERIOD and need no smoothing."""
        folder = Path(self.cfg.OUTPUT_DIR)
        folder.mkdir(parents=True, exist_ok=True)
        return [
            CommonMetricPrinter(self.max_iter, window_size=1),
            JSONWriter(str(folder / "metrics.json")),
            # An interrupted training may have written later iterations than it is resumed from.
            TensorboardXWriter(str(folder), purge_step=self.start_iter or None),
        ]

    def resume_or_load(self, resume: bool = True) -> None:
        """Resume from the last whole checkpoint, or start with MODEL.WEIGHTS."""
        checkpoint = self.checkpointer.find_last() if resume else None
        if checkpoint is not None:
            self._process_state = self.checkpointer.resume_from(checkpoint)
            self.start_iter = self.iter + 1
            self.data_loader.sampler.start_batch = self.start_iter
            return
        if resume:
            logger.warning(f"{self.cfg.OUTPUT_DIR} has no checkpoint: --resume starts from scratch")
        self.checkpointer.start_from(self.cfg.MODEL.WEIGHTS)
        if self.average is not None:
            self.average.reset()

    def train(self) -> None:
        """Train until ``max_iter`` and report the last results."""
        self.iter = self.start_iter
        with EventStorage(self.start_iter) as self.storage:
            try:
                self.before_train()
                while self.iter < self.max_iter:
                    self.before_step()
                    self.run_step()
                    self.after_step()
                    self.iter += 1
            except (FloatingPointError, OSError):
                # Their messages say it all.
                raise
            except Exception:
                logger.exception("Exception during training:")
                raise
            finally:
                self.after_train()
        if self.cfg.DATASETS.TEST:
            report(self.cfg, self._last_eval_results)
        if comm.is_main_process():
            folder = Path(self.cfg.OUTPUT_DIR)
            write_picture(folder / "curves.png", training_chart(folder / "metrics.json"))

    def before_train(self) -> None:
        if comm.is_main_process():
            # Only now is it known whether the training is resumed.
            writers = self.build_writers()
            self.register_hooks([hooks.PeriodicWriter(writers, self.cfg.SOLVER.LOG_PERIOD)])
        super().before_train()
        # Last of all, since building anything may draw from the generators.
        if self._process_state is not None:
            self._load_process_state(self._process_state)

    def run_step(self) -> None:
        super().run_step()
        if self.average is not None:
            self.average.update()

    def evaluate(self) -> dict[str, Any]:
        """Return the results of all test sets, with the averaged weights if there are any."""
        with self.average.applied() if self.average is not None else nullcontext():
            share_statistics(self.model)
            self._last_eval_results = self.test(self.cfg, self.model)
            for name in self.cfg.DATASETS.TEST if comm.is_main_process() else ():
                pictures = draw_few(self.cfg, self.checkpointer.model, name)
                for title, picture in (pictures | draw_box_charts(self.cfg, name)).items():
                    self.storage.put_image(title, picture.transpose(2, 0, 1))
        return self._last_eval_results

    def process_state(self) -> dict[str, Any]:
        state = {"random": torch.get_rng_state()}
        if torch.cuda.is_initialized():
            state["random_gpu"] = torch.cuda.get_rng_state()
        detector = getattr(self.checkpointer.model, "detector", None)
        if hasattr(detector, NORMALIZER):
            state[NORMALIZER] = getattr(detector, NORMALIZER)
        return state

    def _load_process_state(self, state: dict[str, Any]) -> None:
        torch.set_rng_state(state["random"])
        if "random_gpu" in state:
            torch.cuda.set_rng_state(state["random_gpu"])
        if NORMALIZER in state:
            setattr(self.checkpointer.model.detector, NORMALIZER, state[NORMALIZER])

    def state_dict(self) -> dict[str, Any]:
        state = TrainerBase.state_dict(self) | {
            "step": self._trainer.state_dict(),
            "data_seed": self.data_loader.dataset.seed,
        }
        # After the last iteration the counter stands one further.
        state["iteration"] = min(self.iter, self.max_iter - 1)
        if self.average is not None:
            state["average"] = self.average.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        TrainerBase.load_state_dict(self, state)
        if self.cfg.SEED < 0:
            self.data_loader.dataset.seed = state["data_seed"]
        self._trainer.load_state_dict(state["step"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])


def share_statistics(model: nn.Module) -> None:
    """Give all processes the main one's statistics of batch normalisation, which it saves."""
    for buffer in model.buffers() if comm.get_world_size() > 1 else ():
        distributed.broadcast(buffer, src=0)
