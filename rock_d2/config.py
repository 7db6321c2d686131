"""Every setting that rock_d2 adds to Detectron2's, with its default."""

import os
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import yaml
from detectron2.config import CfgNode, get_cfg

from rock_d2.modeling.backbones.timm import add_timm_config
from rock_d2.modeling.balancing import BALANCER_REGISTRY
from rock_d2.modeling.fcos import add_fcos_config
from rock_d2.modeling.lazy import add_lazy_config, settings_of, use_lazy_model
from rock_d2.modeling.necks import NECK_REGISTRY
from rock_d2.tasks import PAPER_TASKS, TASK_REGISTRY

# Raised by Detectron2, fvcore and yacs for files that are no configs, such as circular bases.
MISTAKES = (AssertionError, AttributeError, KeyError, TypeError, ValueError)

# Installed, the configs are in rock_d2.model_zoo; in a checkout they are at its root.
_HERE = Path(__file__).parent
CONFIGS = next(
    folder for folder in (_HERE / "model_zoo/configs", _HERE.parent / "configs") if folder.is_dir()
)


def add_rock_config(cfg: CfgNode) -> None:
    """Add rock_d2's settings to a config of Detectron2."""
    _add_data_config(cfg)
    _add_input_config(cfg)
    _add_network_config(cfg)
    _add_ssd_config(cfg)
    _add_solver_config(cfg)
    _add_test_config(cfg)
    # What a training does with the predictors in MODEL.WEIGHTS if these are of other classes: start
    # afresh with all, or keep those of the classes with the same names and of the background.
    cfg.MODEL.WEIGHTS_BY_CLASS_NAME = False


def _add_data_config(cfg: CfgNode) -> None:
    # Share of the training images that is used (ROCK, table 6): whole images, independent of SEED,
    # the smaller shares within the larger ones.
    cfg.DATASETS.TRAIN_FRACTION = 1.0
    # Share of the training images with boxes that keep them, chosen as above. The others teach the
    # tasks and not the detector, as images without `annotations` do.
    cfg.DATASETS.BOXED_FRACTION = 1.0
    # Share of the training's samples that have known boxes, exact in every long enough part of it;
    # 0: as it is in the data.
    cfg.DATALOADER.BOXED_SHARE = 0.0
    # For each of DATASETS.TRAIN how many times a pass sees its images, and which of its labels are
    # kept: "all", "boxes" and names of tasks with spaces between them, "" none. []: once, and all.
    cfg.DATASETS.REPEAT = []
    cfg.DATASETS.KEEP_LABELS = []
    # The detector's classes, by name; [] are all that the training sets have, in their order. Where
    # a set lacks one, it is neither object nor background in that set's images.
    cfg.DATASETS.CLASSES = []
    # Whether each process decodes the whole training set at the start and keeps it in memory, 8
    # bytes a pixel with all labels; the batches stay the same to the last bit.
    cfg.DATALOADER.RESIDENT = False


def _add_input_config(cfg: CfgNode) -> None:
    # Height and width that every image is resized to (ROCK, supplement, sec. 2); [] resizes by
    # Detectron2's MIN_SIZE_TRAIN, MAX_SIZE_TRAIN and so on, to images of different sizes.
    cfg.INPUT.SIZE = [480, 640]
    # SSD's random crop at the image's own aspect ratio.
    cfg.INPUT.MIN_IOU_CROP = CfgNode()
    cfg.INPUT.MIN_IOU_CROP.ENABLED = True
    # One of these, no bound at all, or the whole image is chosen with equal chance.
    cfg.INPUT.MIN_IOU_CROP.MIN_IOUS = [0.1, 0.3, 0.5, 0.7, 0.9]
    # The smallest share of the image's area.
    cfg.INPUT.MIN_IOU_CROP.MIN_AREA = 0.1
    # Crops that are tried before the whole image is taken.
    cfg.INPUT.MIN_IOU_CROP.TRIALS = 50
    # SSD's zoom-out onto the pixel mean. Off: the paper names crops only, and in SSD it belongs
    # to the longer training for small objects (SSD, sec. 3.6).
    cfg.INPUT.EXPAND = CfgNode()
    cfg.INPUT.EXPAND.ENABLED = False
    # Share of the images that it happens to.
    cfg.INPUT.EXPAND.PROB = 0.5
    # The largest side of the canvas in units of the image's side.
    cfg.INPUT.EXPAND.MAX_RATIO = 4.0
    # MTI-Net's rotation and zoom about the image's centre, at the image's own size.
    cfg.INPUT.ROTATION = CfgNode()
    cfg.INPUT.ROTATION.ENABLED = False
    # Counter-clockwise, and factors; these are those for PASCAL-Context.
    cfg.INPUT.ROTATION.DEGREES = [-20.0, 20.0]
    cfg.INPUT.ROTATION.SCALES = [0.75, 1.25]
    # "range": the two are the least and the largest; "choice": one of the list (Base-nyud.yaml).
    cfg.INPUT.ROTATION.SAMPLING = "range"
    # Class 0 in the corners, as in MTI-Net's published code, instead of unknown.
    cfg.INPUT.ROTATION.BACKGROUND_CORNERS = False
    # Changes of an image's colours.
    cfg.INPUT.COLOR_AUG = CfgNode()
    # Deviation of the shift along ImageNet's principal colours, that of Krizhevsky et al., NIPS
    # 2012, sec. 4.1, to whom the paper refers; 0 switches it off.
    cfg.INPUT.COLOR_AUG.LIGHTING = 0.1
    # SSD's brightness, contrast, saturation and hue.
    cfg.INPUT.COLOR_AUG.DISTORTION = False


def _add_network_config(cfg: CfgNode) -> None:
    # The meta-architecture that MultiTask builds: "SSD", "RetinaNet", "FCOS", "GeneralizedRCNN" or
    # any other of Detectron2 but PanopticFPN and SemanticSegmentor; "" for tasks alone.
    cfg.MODEL.DETECTOR = "SSD"

    cfg.MODEL.NECK = CfgNode()
    # "IdentityNeck" (the detector alone), "FlatMTL", "ROCK"; for dense tasks "HeadsNeck", "PADNet",
    # "MTINet".
    cfg.MODEL.NECK.NAME = "IdentityNeck"
    # Whether it refines what the backbone returns ("backbone") or, where the backbone is a feature
    # pyramid, what goes into the pyramid ("bottom_up").
    cfg.MODEL.NECK.AT = "backbone"
    # MODEL.<NECK>: the defaults stand in the neck's own file.
    for _, neck in NECK_REGISTRY:
        neck.add_config(cfg.MODEL)

    cfg.MODEL.TASKS = CfgNode()
    # Tasks by their registered names, in any order: those that the network is for, and those that
    # it learns on the way, whose labels only the training needs.
    cfg.MODEL.TASKS.MAIN = []
    cfg.MODEL.TASKS.AUXILIARY = list(PAPER_TASKS)
    # Whether the auxiliary tasks are predicted at test time; detection does not need it.
    cfg.MODEL.TASKS.PREDICT_AUXILIARY = True
    # Where the losses of maps compare: labels are averaged to the "prediction"'s size (ROCK), or
    # predictions are enlarged to the "label"'s (MTI-Net).
    cfg.MODEL.TASKS.COMPARE_AT = "prediction"
    # MODEL.TASKS.<TASK>: the defaults stand in the task's own file.
    for _, task in TASK_REGISTRY:
        task.add_config(cfg.MODEL.TASKS)

    cfg.MODEL.BALANCING = CfgNode()
    # How the losses are weighted against each other: "FixedWeights" (each task's LOSS_WEIGHT),
    # "UncertaintyWeights", "DynamicWeightAverage" or "GradientCosine".
    cfg.MODEL.BALANCING.NAME = "FixedWeights"
    for _, balancer in BALANCER_REGISTRY:
        balancer.add_config(cfg.MODEL.BALANCING)

    add_timm_config(cfg)
    add_fcos_config(cfg)
    add_lazy_config(cfg)


def _add_ssd_config(cfg: CfgNode) -> None:
    cfg.MODEL.SSD = CfgNode()
    # "SSDHead" or "PortHead" (configs/port).
    cfg.MODEL.SSD.HEAD = "SSDHead"
    # 0, as for the other detectors: as many as the first data set has thing_classes.
    cfg.MODEL.SSD.NUM_CLASSES = 0
    # Feature maps of the backbone that are predicted from, before the extra ones.
    cfg.MODEL.SSD.IN_FEATURES = ["res5"]
    # Channels of the extra maps, each half the size of the one before, down to 1 x 1 (SSD512).
    cfg.MODEL.SSD.EXTRA_CHANNELS = [512, 256, 256, 256, 256, 256]
    # Normalisation in the extra layers. SSD has none and the paper names none; predictors start
    # near zero, and learn fast, on features of unit scale only. "BN" needs two images a process.
    cfg.MODEL.SSD.NORM = "BN"

    # Side of the square default boxes in units of INPUT.SIZE's shorter side: on the first map, on
    # the second and on the last, evenly spaced between these (SSD512).
    cfg.MODEL.SSD.SCALES = [0.07, 0.15, 0.9]
    # Each also as 1 / ratio. The first and the last two maps have the first ratio only (SSD512).
    cfg.MODEL.SSD.ASPECT_RATIOS = [2.0, 3.0]

    # Below the first: background; between: ignored; from the second: object. The paper takes
    # RetinaNet's strategy (supplement, sec. 2).
    cfg.MODEL.SSD.IOU_THRESHOLDS = [0.4, 0.5]
    # SSD's variances 0.1 and 0.2 as Detectron2 writes them.
    cfg.MODEL.SSD.BBOX_REG_WEIGHTS = [10.0, 10.0, 5.0, 5.0]
    # Negatives kept for each positive of an image, the hardest.
    cfg.MODEL.SSD.NEG_POS_RATIO = 3.0
    # Of the losses: the error from which smooth L1 is linear, the factors of classes and of boxes.
    cfg.MODEL.SSD.SMOOTH_L1_LOSS_BETA = 1.0
    cfg.MODEL.SSD.CLS_LOSS_WEIGHT = 1.0
    cfg.MODEL.SSD.BOX_REG_LOSS_WEIGHT = 3.0
    # Probability of 'some object' that every default box starts with (RetinaNet, sec. 3.3).
    cfg.MODEL.SSD.PRIOR_PROB = 0.01
    # Score that a detection has at least.
    cfg.MODEL.SSD.SCORE_THRESH_TEST = 0.01
    # Boxes of an image that go into NMS.
    cfg.MODEL.SSD.TOPK_CANDIDATES_TEST = 400
    # IoU above which NMS takes two boxes of a class for the same object.
    cfg.MODEL.SSD.NMS_THRESH_TEST = 0.3


def _add_solver_config(cfg: CfgNode) -> None:
    # The paper's (sec. 4); Detectron2's own SOLVER keys are its settings.
    cfg.SOLVER.OPTIMIZER = "Adam"
    # Factors of the learning rate for parts of the model, as [["backbone.bottom_up", 0.1]]; of
    # several that hold a parameter the last counts.
    cfg.SOLVER.LR_MULTIPLIERS = []
    # Of LR_SCHEDULER_NAME "WarmupPolyLR", which Detectron2 has not: BASE_LR x (1 - iteration /
    # MAX_ITER) ^ POWER, the same for PERIOD iterations; an epoch's for MTI-Net.
    cfg.SOLVER.POLY = CfgNode()
    cfg.SOLVER.POLY.POWER = 0.9
    cfg.SOLVER.POLY.PERIOD = 1
    # Parts in which each process sees its share of a batch, one after another, to save memory.
    cfg.SOLVER.ACCUMULATE = 1
    # Mode of torch.compile for backbone and neck: "" (off), "default", or "reduce-overhead" (CUDA
    # graphs).
    cfg.SOLVER.COMPILE = ""
    # Whether a GPU computes the same bits each time (torch.use_deterministic_algorithms), which is
    # slower and without which a resumed training equals the uninterrupted one to rounding only.
    cfg.SOLVER.DETERMINISTIC = False
    # Of SOLVER.AMP.ENABLED: "bf16" or "fp16", which scales the loss.
    cfg.SOLVER.AMP.DTYPE = "bf16"
    # Iterations from one line of the log to the next; the losses are read only then.
    cfg.SOLVER.LOG_PERIOD = 20
    # Checkpoints of the training that stay, beside model_best and model_final; 0: all.
    cfg.SOLVER.CHECKPOINTS_KEPT = 3
    # Seconds that processes wait for each other; on GPUs Detectron2's own exchanges, for results of
    # an evaluation and checkpoints, have PyTorch's half hour.
    cfg.SOLVER.PROCESS_TIMEOUT = 1800
    # Iterations from one measurement of the tasks' gradients on the backbone to the next; 0: none.
    # Each costs a forward pass, and a backward pass for every task; the training does not change.
    cfg.SOLVER.GRADIENT_CONFLICT_PERIOD = 0

    # Whether the average of the weights over the training is what is evaluated and stored.
    cfg.MODEL_EMA = CfgNode()
    cfg.MODEL_EMA.ENABLED = False
    # Weight of the average so far; less in the first iterations.
    cfg.MODEL_EMA.DECAY = 0.999


def _add_test_config(cfg: CfgNode) -> None:
    # The metric whose best value so far model_best.pth has, as the closing table names it; of the
    # first set if DATASETS.TEST has several.
    cfg.TEST.BEST_METRIC = "bbox/AP50"
    # "max" or "min".
    cfg.TEST.BEST_MODE = "max"
    # Images of each test set whose predictions TensorBoard shows after each evaluation.
    cfg.TEST.NUM_PICTURES = 4
    # Images that the model sees at once in evaluation, in each process.
    cfg.TEST.IMS_PER_BATCH = 8
    # Library that computes COCO's numbers: "hotcoco" (an extra, the faster), "pycocotools", or
    # "auto" for the fastest that is installed. They agree to the last digit.
    cfg.TEST.COCO_BACKEND = "auto"
    # Images, pixels and classes that are measured, by the name that results have: a file of
    # data/datasets/protocols without its ending, or a yaml file; "": the data set's `protocol`.
    cfg.TEST.PROTOCOL = ""
    # Instead of the protocol's, the part of maps that is measured: "none" (no crop) or, of NYUv2's
    # 480 x 640 frames, "eigen", "toolbox" or "gupta" (docs/METRICS.md).
    cfg.TEST.EVAL_CROP = ""
    # Measure predictions as 8-bit PNGs hold them, as MTI-Net's published code does
    # (docs/METRICS.md); a protocol may want that, too.
    cfg.TEST.QUANTISE = False
    # Files results.json of single-task networks, of one seed or several, for TEST.BEST_METRIC
    # "delta_m": the mean gain over them, by the protocol's metrics.
    cfg.TEST.BASELINE = []
    # Whether evaluation keeps the tasks' predictions, as OUTPUT_DIR/inference/<data set>/<task>/
    # <image_id>.npz, so that tools/evaluate_predictions.py can score them again.
    cfg.TEST.SAVE_AUXILIARY = False


def find_config(name: str) -> str:
    """Return the path of a config: a file, or one of the project's by its name in ``configs/``.

    "rock_rooms" is "trained/rock_rooms.yaml".
    """
    inside = name.removeprefix("configs/")
    places = (Path(name), CONFIGS / inside, CONFIGS / "trained" / f"{inside}.yaml")
    return next((str(place) for place in places if place.is_file()), name)


def load_config(config: CfgNode | str | os.PathLike, opts: Sequence[Any] = ()) -> CfgNode:
    """Return a config of its own: a file's or another config's settings with KEY VALUE pairs.

    A file is found as by ``find_config``.
    """
    if isinstance(config, CfgNode):
        cfg = config.clone()
        cfg.defrost()
    else:
        cfg = get_cfg()
        add_rock_config(cfg)
        path = find_config(str(config))
        is_lazy = path.endswith(".py")
        _merge_file(cfg, find_config(settings_of(path)) if is_lazy else path)
        if is_lazy:
            use_lazy_model(cfg, path)
    try:
        cfg.merge_from_list(list(opts))
    except (KeyError, AssertionError) as problem:
        raise ValueError(f"{' '.join(map(str, opts))}: {problem.args[0]}") from None
    return cfg


def _merge_file(cfg: CfgNode, path: str) -> None:
    """Merge a config file and its bases, as plain values only: YAML tags could run code."""
    try:
        cfg.merge_from_file(path, allow_unsafe=False)
    except RecursionError:
        raise ValueError(f"{path} is no config: its _BASE_ leads back to itself") from None
    except (*MISTAKES, yaml.YAMLError) as problem:
        # Some messages hold a whole node.
        raise ValueError(f"{path} is no config: {shorten(str(problem), 400)}") from None
