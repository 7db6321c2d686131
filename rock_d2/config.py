"""Every setting that rock_d2 adds to Detectron2's, with its default."""

from detectron2.config import CfgNode

# A config with rock_d2's settings is of use only where its parts are registered.
import rock_d2.registration  # noqa: F401
from rock_d2.tasks import AUX_TASK_REGISTRY, PAPER_TASKS


def add_rock_config(cfg: CfgNode) -> None:
    """Adds rock_d2's settings to a config of Detectron2."""
    _add_data_config(cfg)
    _add_input_config(cfg)
    _add_ssd_config(cfg)
    _add_rock_config(cfg)
    _add_solver_config(cfg)
    _add_test_config(cfg)
    # The project of Weights & Biases that a training reports to; "" for none.
    cfg.WANDB_PROJECT = ""


def _add_data_config(cfg: CfgNode) -> None:
    # The share of the training images that is used (table 6): whole images, chosen by themselves
    # and not by SEED, the smaller shares within the larger.
    cfg.DATASETS.TRAIN_FRACTION = 1.0
    # Further attempts at a training image whose files cannot be read, with pauses between them.
    cfg.DATALOADER.RETRIES = 2
    # Training images that may be unreadable: others stand in for them, and they are reported. The
    # first one beyond ends the training.
    cfg.DATALOADER.MAX_UNREADABLE = 0
    # Whether each process decodes the whole training set at the start and keeps it in memory, 8
    # bytes a pixel with all labels; the batches stay the same to the last bit.
    cfg.DATALOADER.RESIDENT = False
    # What augments a resident set, to the same batches: "host", image by image; "device", whole
    # batches where the model is, which keeps the set, without workers; "auto": the device if it is
    # a GPU with room for it, since OpenCV is faster on a CPU.
    cfg.DATALOADER.AUGMENT_ON = "auto"
    # Seconds that a loader worker may take for a batch before it counts as lost; 0: any time.
    cfg.DATALOADER.TIMEOUT = 600


def _add_input_config(cfg: CfgNode) -> None:
    # Height and width of every image that the model sees (ROCK, supplement, sec. 2).
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
    cfg.INPUT.EXPAND.PROB = 0.5
    # The largest side of the canvas in units of the image's side.
    cfg.INPUT.EXPAND.MAX_RATIO = 4.0

    cfg.INPUT.COLOR_AUG = CfgNode()
    # Deviation of the shift along ImageNet's principal colours; 0 switches it off. The paper
    # refers to Krizhevsky et al., whose value this is (NIPS 2012, sec. 4.1).
    cfg.INPUT.COLOR_AUG.LIGHTING = 0.1
    # SSD's brightness, contrast, saturation and hue.
    cfg.INPUT.COLOR_AUG.DISTORTION = False


def _add_ssd_config(cfg: CfgNode) -> None:
    cfg.MODEL.SSD = CfgNode()
    # "SSDHead" or "PortHead" (configs/port).
    cfg.MODEL.SSD.HEAD = "SSDHead"
    cfg.MODEL.SSD.NUM_CLASSES = 19
    # Feature maps of the neck that are predicted from, before the extra ones.
    cfg.MODEL.SSD.IN_FEATURES = ["res5"]
    # Channels of the extra maps, each half the size of the one before, down to 1 x 1 (SSD512).
    cfg.MODEL.SSD.EXTRA_CHANNELS = [512, 256, 256, 256, 256, 256]
    # Normalisation in the extra layers; SSD has none.
    cfg.MODEL.SSD.NORM = ""

    # Side of the square default boxes in units of the image's shorter side: on the first map, on
    # the second and on the last, evenly spaced between these (SSD512).
    cfg.MODEL.SSD.SCALES = [0.07, 0.15, 0.9]
    # Each also as 1 / ratio. The first and the last two maps have the first ratio only (SSD512).
    cfg.MODEL.SSD.ASPECT_RATIOS = [2.0, 3.0]

    # Below the first: background; between: ignored; from the second: object. The paper takes
    # RetinaNet's strategy (supplement, sec. 2).
    cfg.MODEL.SSD.IOU_THRESHOLDS = [0.4, 0.5]
    # SSD's variances 0.1 and 0.2 as Detectron2 writes them.
    cfg.MODEL.SSD.BBOX_REG_WEIGHTS = [10.0, 10.0, 5.0, 5.0]
    # "HardNegativeMining" (SSD) or "Focal".
    cfg.MODEL.SSD.CLS_LOSS = "HardNegativeMining"
    # Negatives kept for each positive of an image.
    cfg.MODEL.SSD.NEG_POS_RATIO = 3.0
    # Exponent of the focal loss and its weight of the objects' classes (RetinaNet, sec. 3.2).
    cfg.MODEL.SSD.FOCAL_GAMMA = 2.0
    cfg.MODEL.SSD.FOCAL_ALPHA = 0.25
    cfg.MODEL.SSD.SMOOTH_L1_LOSS_BETA = 1.0
    cfg.MODEL.SSD.CLS_LOSS_WEIGHT = 1.0
    cfg.MODEL.SSD.BOX_REG_LOSS_WEIGHT = 3.0
    # Probability of 'some object' that every default box starts with (RetinaNet, sec. 3.3).
    cfg.MODEL.SSD.PRIOR_PROB = 0.01

    cfg.MODEL.SSD.SCORE_THRESH_TEST = 0.01
    # Boxes of an image that go into NMS.
    cfg.MODEL.SSD.TOPK_CANDIDATES_TEST = 400
    cfg.MODEL.SSD.NMS_THRESH_TEST = 0.3


def _add_rock_config(cfg: CfgNode) -> None:
    cfg.MODEL.NECK = CfgNode()
    # "IdentityNeck" (the detection baseline), "FlatMTL" or "ROCK".
    cfg.MODEL.NECK.NAME = "IdentityNeck"

    # What FlatMTL and ROCK share, and ROCK's own.
    cfg.MODEL.ROCK = CfgNode()
    # The feature map X.
    cfg.MODEL.ROCK.IN_FEATURE = "res5"
    # Auxiliary tasks by their registered names, in any order.
    cfg.MODEL.ROCK.TASKS = list(PAPER_TASKS)
    # Whether the tasks are predicted at test time; detection does not need it.
    cfg.MODEL.ROCK.PREDICT_AUXILIARY = True
    # Channels of the encoders' trunk: 2048 / 4 (supplement, sec. 1).
    cfg.MODEL.ROCK.WIDTH = 512
    # Normalisation in trunk and decoders.
    cfg.MODEL.ROCK.NORM = "BN"
    cfg.MODEL.ROCK.FUSION = CfgNode()
    # "SumFusion" (equation 1), "ProductFusion" (table 5) or "NoFusion" (table 1).
    cfg.MODEL.ROCK.FUSION.NAME = "SumFusion"
    # Tasks whose decoders are left out at test time, to see what their features bring.
    cfg.MODEL.ROCK.FUSION.SWITCHED_OFF = []

    # MODEL.ROCK.<TASK>: the defaults stand in the task's own file.
    for _, task in AUX_TASK_REGISTRY:
        task.add_config(cfg.MODEL.ROCK)


def _add_solver_config(cfg: CfgNode) -> None:
    # The paper's (sec. 4); Detectron2's own SOLVER keys are its settings.
    cfg.SOLVER.OPTIMIZER = "Adam"
    # Parts in which each process sees its share of a batch, one after another: less memory, the
    # same gradient (batch normalisation apart), a second forward pass.
    cfg.SOLVER.ACCUMULATE = 1
    # Whether torch.compile makes the network faster, the same to rounding; it needs a C++ compiler
    # and some minutes.
    cfg.SOLVER.COMPILE = False
    # Whether a training in one process on a GPU records its step as a CUDA graph and plays it back,
    # the same to rounding; where it cannot, the log says why.
    cfg.SOLVER.CUDA_GRAPH = False
    # Whether a GPU computes the same bits each time (torch.use_deterministic_algorithms), which is
    # slower and without which a resumed training is the uninterrupted one to rounding only; CPUs
    # do so anyway. An operation that cannot ends the training and is named.
    cfg.SOLVER.DETERMINISTIC = False
    # Of SOLVER.AMP.ENABLED: "bf16" or "fp16", which scales the loss.
    cfg.SOLVER.AMP.DTYPE = "bf16"
    # Iterations from one line of the log to the next; the losses are read only then.
    cfg.SOLVER.LOG_PERIOD = 20
    # Checkpoints of the training that stay, beside model_best and model_final; 0: all.
    cfg.SOLVER.CHECKPOINTS_KEPT = 3
    # Steps whose loss or gradient may be not finite; they change no weight. The first one beyond
    # ends the training.
    cfg.SOLVER.SKIP_NONFINITE = 0
    # Seconds that processes wait for each other before one of them counts as lost.
    cfg.SOLVER.PROCESS_TIMEOUT = 1800
    # Whether a training ends when it cannot save (disk full, quota), or goes on without.
    cfg.SOLVER.STOP_IF_NOT_SAVED = True
    # Iterations from one logging of the tasks' gradients on the backbone to the next; 0: none.
    # Each costs a forward pass, and a backward pass for every task; the training does not change.
    cfg.SOLVER.GRADIENT_CONFLICT_PERIOD = 0
    # Ends the training after that many evaluations without a better TEST.BEST_METRIC; 0: never.
    cfg.SOLVER.EARLY_STOPPING = CfgNode()
    cfg.SOLVER.EARLY_STOPPING.PATIENCE = 0

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
    # Whether evaluation and Predictor take a copy of the model with fewer operations: batch
    # normalisation within convolutions, stacked predictors. The results are the same to rounding.
    cfg.TEST.FOLD = True
    # Whether torch.compile makes that copy faster still; it needs a C++ compiler and a minute.
    cfg.TEST.COMPILE = False
    # Whether the training goes on while a copy of the model is evaluated in a thread; not with
    # several processes (docs/PERFORMANCE.md).
    cfg.TEST.OVERLAP = False
    # What computes COCO's numbers: "hotcoco" (an extra, the faster), "pycocotools", or "auto" for
    # the fastest that is installed. They agree to the last digit.
    cfg.TEST.COCO_BACKEND = "auto"
    # The part of maps that is measured: "none" (no crop) or, of NYUv2's 480 x 640 frames, "eigen"
    # or "toolbox" (docs/METRICS.md).
    cfg.TEST.EVAL_CROP = "none"
    # Whether evaluation keeps the tasks' predictions, as OUTPUT_DIR/inference/<data set>/<task>/
    # <image_id>.npz, so that tools/evaluate_predictions.py can score them again.
    cfg.TEST.SAVE_AUXILIARY = False
