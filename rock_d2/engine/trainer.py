"""Training and evaluation by a config."""

import logging
import weakref
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, hooks
from detectron2.engine.defaults import create_ddp_model
from detectron2.engine.train_loop import TrainerBase
from detectron2.evaluation import DatasetEvaluators
from detectron2.modeling import build_model
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from torch import nn
from torch.utils.data import DataLoader

from rock_d2.data import build_test_loader, build_train_loader
from rock_d2.checkpoint.checkpointer import CompleteCheckpointer
from rock_d2.engine.compilation import compile_network
from rock_d2.engine.ema import WeightAverage
from rock_d2.engine.ending import DataUnreadable, Diverged, TrainingStopped
from rock_d2.export.fuse import inference_copy
from rock_d2.engine.frozen_norm import merge_frozen_norms
from rock_d2.engine.gradient_conflict import GradientConflict
from rock_d2.engine.graph import step_class
from rock_d2.engine.history import History
from rock_d2.engine.hooks import BestModel, Checkpoints, Evaluations, LossReader
from rock_d2.engine.lost import naming_the_lost
from rock_d2.engine.optim import build_optimizer
from rock_d2.engine.overlap import OverlappedEvaluations, check_overlap, frozen_copy
from rock_d2.engine.random_state import random_state, set_random_state
from rock_d2.engine.results import Measured, by_data_set, draw_few, report, summary
from rock_d2.checkpoint.identity import identity
from rock_d2.engine.writers import METRICS_FILE, build_writers, header
from rock_d2.engine.step import step_settings
from rock_d2.checkpoint.training import TrainingCheckpointer
from rock_d2.evaluation.build import build_evaluator

logger = logging.getLogger(__name__)


class RockTrainer(DefaultTrainer):
    """Detectron2's DefaultTrainer with this project's data, step, checkpoints and log."""

    def __init__(self, cfg: CfgNode):
        # Not DefaultTrainer's own: it would build its loader and step first.
        TrainerBase.__init__(self)
        cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        check_overlap(cfg)
        self.cfg = cfg
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.results: dict[str, float] = {}
        self.history = self.build_history()
        self._process_state: dict[str, Any] | None = None
        settings = step_settings(cfg, comm.get_world_size())
        loader = self.build_train_loader(cfg)
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        self.average = WeightAverage(model, cfg.MODEL_EMA.DECAY) if cfg.MODEL_EMA.ENABLED else None
        # One process is one GPU; on the CPU there is no device to name.
        devices = {"device_ids": None} if cfg.MODEL.DEVICE == "cpu" else {}
        wrapped = create_ddp_model(model, broadcast_buffers=False, **devices)
        step = step_class(cfg, model, optimizer)
        self._trainer = step(wrapped, loader, optimizer, **settings)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = TrainingCheckpointer(
            cfg,
            model=model,
            identity=identity(cfg, records=loader.dataset.records, model=model),
            average=self.average,
            trainer=weakref.proxy(self),
        )
        self.register_hooks(self.build_hooks())

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        model = merge_frozen_norms(build_model(cfg)).to(memory_format=torch.channels_last)
        if cfg.SOLVER.COMPILE:
            compile_network(model)
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        return build_optimizer(cfg, model)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> DataLoader:
        return build_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> DataLoader:
        return build_test_loader(cfg, dataset_name)

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module, evaluators: Any = None) -> dict[str, Any]:
        """Detectron2's, with TEST.FOLD and TEST.COMPILE."""
        return super().test(cfg, inference_copy(model, cfg), evaluators)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluators:
        return build_evaluator(cfg, dataset_name)

    def build_hooks(self) -> list[hooks.HookBase]:
        """What happens after each step, in this order: a checkpoint holds all that came before."""
        cfg, period = self.cfg, self.cfg.TEST.EVAL_PERIOD
        found = [
            hooks.LRScheduler(),
            LossReader(
                self._trainer, period=cfg.SOLVER.LOG_PERIOD, batch_size=cfg.SOLVER.IMS_PER_BATCH
            ),
        ]
        if cfg.SOLVER.GRADIENT_CONFLICT_PERIOD:
            conflict_period = cfg.SOLVER.GRADIENT_CONFLICT_PERIOD
            found.append(GradientConflict(conflict_period, precision=self._trainer.precision))
        if cfg.DATASETS.TEST:
            prefix = f"{cfg.DATASETS.TEST[0]}/" if len(cfg.DATASETS.TEST) > 1 else ""
            best = BestModel(
                self.checkpointer,
                # Overlapped evaluations tell when there is something to compare.
                period=0 if cfg.TEST.OVERLAP else period,
                metric=prefix + cfg.TEST.BEST_METRIC,
                mode=cfg.TEST.BEST_MODE,
                patience=cfg.SOLVER.EARLY_STOPPING.PATIENCE,
            )
            if cfg.TEST.OVERLAP:
                found += [OverlappedEvaluations(period, self.evaluate, best), best]
            else:
                found += [Evaluations(period, self.evaluate), best]
        checkpoints = Checkpoints(
            self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD, timeout=cfg.SOLVER.PROCESS_TIMEOUT
        )
        return [*found, self.history, checkpoints]

    def build_history(self) -> History:
        cfg, writes = self.cfg, comm.is_main_process()
        return History(
            Path(cfg.OUTPUT_DIR, METRICS_FILE),
            self.build_writers if writes else tuple,
            periods=(cfg.SOLVER.LOG_PERIOD, cfg.TEST.EVAL_PERIOD),
            must_write=cfg.SOLVER.STOP_IF_NOT_SAVED,
        )

    def build_writers(self) -> Sequence[EventWriter]:
        return build_writers(self.cfg, first_iter=self.start_iter)

    def resume_or_load(self, resume: bool = True, *, anyway: bool = False) -> None:
        """Goes on from the last whole checkpoint, or starts with MODEL.WEIGHTS.

        Args:
            resume: whether to look for a checkpoint.
            anyway: whether one of a training with other settings will do.
        """
        checkpoint = self.checkpointer.find_last() if resume else None
        if checkpoint is not None:
            self._process_state = self.checkpointer.go_on_from(checkpoint, anyway=anyway)
            self.start_iter = self._trainer.iteration = self.iter + 1
            self.data_loader.sampler.start_batch = self.start_iter
            return
        if resume:
            logger.warning(f"{self.cfg.OUTPUT_DIR} has no checkpoint: --resume starts from scratch")
            self.history.restart()
        self.checkpointer.start_anew(self.cfg.MODEL.WEIGHTS)
        if self.average is not None:
            self.average.reset()

    def train(self) -> None:
        if comm.is_main_process():
            records = self.data_loader.dataset.records
            logger.info(f"\n{header(self.cfg, self.checkpointer.model, records)}\n")
        try:
            with naming_the_lost():
                super().train()
        except TrainingStopped as reason:
            logger.info(f"Stopped after {self.iter + 1} iterations: {reason}")
            self.checkpointer.save("model_final")
        except (Diverged, DataUnreadable) as reason:
            raise type(reason)(f"{reason}; {self.checkpointer.last_good()}") from None
        finally:
            self._trainer.batches.report()
        if self.cfg.DATASETS.TEST:
            report(self.cfg, self._last_eval_results)

    def before_train(self) -> None:
        super().before_train()
        if self._process_state is not None:
            self._trainer.load_period_state(self._process_state["period"])
            # Last of all, since building anything may draw from the generators.
            set_random_state(self._process_state["random"])

    def after_train(self) -> None:
        # A training that is resumed after its last iteration has none left to count.
        self.iter = min(self.iter, self.max_iter)
        super().after_train()

    # Within the loop, too: Detectron2 logs whatever else leaves it with a traceback.
    @naming_the_lost()
    def before_step(self) -> None:
        super().before_step()

    @naming_the_lost()
    def run_step(self) -> None:
        self._trainer.run()
        if self.average is not None:
            self.average.update()

    @naming_the_lost()
    def after_step(self) -> None:
        super().after_step()

    def evaluate(self) -> dict[str, Any]:
        """The results of all test sets, with the averaged weights if there are any."""
        with self._weights_to_evaluate():
            measured = self.measure(self.model)
        measured.show_pictures(self.storage)
        self.take_in(measured)
        return measured.results

    def evaluated_copy(self, weights: Mapping[str, torch.Tensor] | None = None) -> nn.Module:
        """A copy of the model as it is evaluated now, or with these weights."""
        self.settle()
        with self._weights_to_evaluate():
            return frozen_copy(self.checkpointer.model, weights)

    def measure(self, model: nn.Module) -> Measured:
        """Evaluates a model on all test sets; nothing of the trainer changes."""
        results, pictures = self.test(self.cfg, model), {}
        if comm.is_main_process():
            for name, of_set in by_data_set(self.cfg, results).items():
                logger.info(f"Results on {name}:\n{summary(of_set)}")
                pictures |= draw_few(self.cfg, getattr(model, "module", model), name)
        return Measured(results, pictures)

    def take_in(self, measured: Measured) -> None:
        """Makes these results the latest ones."""
        self.results = measured.metrics()
        # Detectron2 compares these with TEST.EXPECTED_RESULTS.
        self._last_eval_results = measured.results

    def _weights_to_evaluate(self) -> AbstractContextManager[None]:
        return self.average.applied() if self.average is not None else nullcontext()

    def settle(self) -> None:
        """Raises Diverged if the last step was not finite and may not be skipped."""
        self._trainer.guard.settle()

    def process_state(self) -> dict[str, Any]:
        """What each process has for itself."""
        return {"period": self._trainer.period_state(), "random": random_state()}

    def state_dict(self) -> dict[str, Any]:
        state = TrainerBase.state_dict(self)
        # After the last iteration the counter stands one further.
        state["iteration"] = min(self.iter, self.max_iter - 1)
        state["step"] = self._trainer.state_dict()
        state["data_seed"] = self.data_loader.dataset.seed
        if self.average is not None:
            state["average"] = self.average.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        TrainerBase.load_state_dict(self, state)
        if self.cfg.SEED < 0:
            self.data_loader.dataset.seed = state["data_seed"]
        # A checkpoint that is gone on from anyway may lack what does not fit.
        if "step" in state:
            self._trainer.load_state_dict(state["step"])
        if self.average is not None and "average" in state:
            self.average.load_state_dict(state["average"])


class Evaluation:
    """Evaluates the model of MODEL.WEIGHTS or of the last checkpoint in OUTPUT_DIR."""

    def __init__(self, cfg: CfgNode):
        self.cfg = cfg
        self.model = build_model(cfg)
        self.checkpointer = CompleteCheckpointer(cfg, model=self.model, save_dir=cfg.OUTPUT_DIR)

    def resume_or_load(self, resume: bool = False) -> None:
        last = self.checkpointer.store.find_last() if resume else None
        file = str(last or self.cfg.MODEL.WEIGHTS)
        if not file:
            raise ValueError("MODEL.WEIGHTS is empty, so that there is no model to evaluate")
        self.checkpointer.load(file, checkpointables=[])

    @naming_the_lost()
    def run(self) -> dict[str, Any]:
        return RockTrainer.test(self.cfg, self.model)
