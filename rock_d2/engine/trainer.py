"""Training and evaluation by a config."""

import logging
import weakref
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import DefaultTrainer, hooks
from detectron2.engine.defaults import create_ddp_model
from detectron2.engine.train_loop import TrainerBase
from detectron2.evaluation import DatasetEvaluators, inference_context
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.modeling import build_model
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from torch import nn
from torch.utils.data import DataLoader

from rock_d2.data import RockDatasetMapper, build_test_loader, build_train_loader
from rock_d2.engine.compilation import compile_network
from rock_d2.engine.ema import WeightAverage
from rock_d2.engine.ending import DataUnreadable, Diverged, TrainingStopped
from rock_d2.engine.fast_inference import inference_copy
from rock_d2.engine.gradient_conflict import GradientConflict
from rock_d2.engine.history import History
from rock_d2.engine.hooks import BestModel, Checkpoints, Evaluations, LossReader
from rock_d2.engine.lost import lost_process
from rock_d2.engine.optimizer import build_optimizer
from rock_d2.engine.random_state import random_state, set_random_state
from rock_d2.engine.resume import identity
from rock_d2.engine.run_log import METRICS_FILE, build_writers, header
from rock_d2.engine.step import TrainingStep, step_settings
from rock_d2.engine.training_checkpoint import TrainingCheckpointer
from rock_d2.evaluation.build import build_evaluator
from rock_d2.evaluation.report import results_table, save_results
from rock_d2.predictor import CompleteCheckpointer
from rock_d2.visualization import draw_predictions, evenly_spaced

logger = logging.getLogger(__name__)


class RockTrainer(DefaultTrainer):
    """Detectron2's DefaultTrainer with this project's data, step, checkpoints and log."""

    def __init__(self, cfg: CfgNode):
        # Not DefaultTrainer's own: it would build its loader and step first.
        TrainerBase.__init__(self)
        cfg = self.auto_scale_workers(cfg, comm.get_world_size())
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
        self._trainer = TrainingStep(wrapped, loader, optimizer, **settings)
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
        model = build_model(cfg).to(memory_format=torch.channels_last)
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
            found += [
                Evaluations(period, self.evaluate),
                BestModel(
                    self.checkpointer,
                    period=period,
                    metric=prefix + cfg.TEST.BEST_METRIC,
                    mode=cfg.TEST.BEST_MODE,
                    patience=cfg.SOLVER.EARLY_STOPPING.PATIENCE,
                ),
            ]
        return [*found, self.history, Checkpoints(self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD)]

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
            logger.info(f"\n{header(self.cfg, self.checkpointer.model)}\n")
        try:
            super().train()
        except TrainingStopped as reason:
            logger.info(f"Stopped after {self.iter + 1} iterations: {reason}")
            self.checkpointer.save("model_final")
        except (Diverged, DataUnreadable) as reason:
            raise type(reason)(f"{reason}; {self.checkpointer.last_good()}") from None
        except RuntimeError as problem:
            raise lost_process(problem) or problem from None
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

    def run_step(self) -> None:
        self._trainer.run()
        if self.average is not None:
            self.average.update()

    def evaluate(self) -> dict[str, Any]:
        """The results of all test sets, with the averaged weights if there are any."""
        with self.average.applied() if self.average is not None else nullcontext():
            results = self.test(self.cfg, self.model)
            if comm.is_main_process():
                for name, of_set in by_data_set(self.cfg, results).items():
                    logger.info(f"Results on {name}:\n{summary(of_set)}")
                    self._draw(name)
        self.results = flatten_results_dict(results)
        # Detectron2 compares these with TEST.EXPECTED_RESULTS.
        self._last_eval_results = results
        return results

    def _draw(self, dataset_name: str) -> None:
        """Shows the predictions of a few images, always the same, to TensorBoard."""
        model, mapper = self.checkpointer.model, RockDatasetMapper(self.cfg, is_train=False)
        records, metadata = DatasetCatalog.get(dataset_name), MetadataCatalog.get(dataset_name)
        for record in evenly_spaced(records, self.cfg.TEST.NUM_PICTURES):
            with inference_context(model), torch.no_grad():
                output = model([mapper(record)])[0]
            output = {key: value.to("cpu") for key, value in output.items()}
            picture = draw_predictions(record, output, model.neck.tasks, metadata)
            title = f"{dataset_name}/{record['image_id']}"
            self.storage.put_image(title, picture.transpose(2, 0, 1))

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

    def run(self) -> dict[str, Any]:
        return RockTrainer.test(self.cfg, self.model)


def report(cfg: CfgNode, results: dict[str, Any]) -> None:
    """Logs the results of all test sets and writes them into OUTPUT_DIR."""
    if not comm.is_main_process():
        return
    for name, of_set in by_data_set(cfg, results).items():
        logger.info(f"{name}\n\n{results_table(of_set)}\n")
        file = "results.json" if len(cfg.DATASETS.TEST) == 1 else f"results_{name}.json"
        save_results(of_set, f"{cfg.OUTPUT_DIR}/{file}")


def by_data_set(cfg: CfgNode, results: dict[str, Any]) -> dict[str, Any]:
    """Undoes what Detectron2 does for a single test set: its results stand without its name."""
    names = cfg.DATASETS.TEST
    return {names[0]: results} if len(names) == 1 else results


def summary(results: dict[str, Any]) -> str:
    """The results of a data set, a line each task, without those of single categories."""
    return "\n".join(
        f"  {task}: " + "  ".join(f"{k} {v:.3f}" for k, v in metrics.items() if "-" not in k)
        for task, metrics in results.items()
    )
