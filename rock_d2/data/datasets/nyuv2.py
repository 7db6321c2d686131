"""NYUv2 (Silberman et al., ECCV 2012): its classes, its camera and its registered splits."""

from rock_d2.data.datasets.coco import CLASSES, register_splits

THING_CLASSES = tuple(CLASSES["nyuv2"]["things"])
STUFF_CLASSES = tuple(CLASSES["nyuv2"]["stuff"])
SCENE_CLASSES = tuple(CLASSES["nyuv2"]["scenes"])

IMAGE_SIZE = (480, 640)

# fx, fy, cx, cy of the colour camera at 480 x 640, to which the depth is registered. The toolbox
# counts pixels from 1 (camera_params.m), we count from 0.
INTRINSICS = (
    518.85790117450188,
    519.46961112127485,
    325.58244941119034 - 1,
    253.73616633400465 - 1,
)

# Gupta's 425 x 560 crop begins at column 40 and row 45.
GUPTA_INTRINSICS = (*INTRINSICS[:2], INTRINSICS[2] - 40, INTRINSICS[3] - 45)

# Metres; Kinect sees nothing beyond 10 m.
DEPTH_RANGE = (0.5, 10.0)

# Official train and test, and the paper's division of train for its ablations (sec. 4); each with
# the splits that no video sequence may be shared with.
SPLITS = {
    "train": ["test"],
    "test": ["train"],
    "train673": ["val122", "test"],
    "val122": ["train673", "test"],
}
# The trees of datasets/prepare_nyuv2.py --boxes: the full frame, Gupta's crop, the port's boxes.
TREES = ("nyuv2", "nyuv2_gupta", "nyuv2_port")

for tree in TREES:
    register_splits(
        tree,
        SPLITS,
        file="nyuv2",
        thing_classes=THING_CLASSES,
        stuff_classes=STUFF_CLASSES,
        scene_classes=SCENE_CLASSES,
        depth_range=DEPTH_RANGE,
        protocol="nyuv2_det19_gupta" if tree == "nyuv2_gupta" else "nyuv2_det19",
        intrinsics=GUPTA_INTRINSICS if tree == "nyuv2_gupta" else INTRINSICS,
        # The port forgets a pixel: boxes of one pixel have a width of 0 there.
        empty_boxes=tree == "nyuv2_port",
    )

# The archive NYUD_MT of the multi-task literature, by datasets/prepare_nyud_mt.py.
register_splits(
    "nyud_mt",
    {"train": ["val"], "val": ["train"]},
    thing_classes=THING_CLASSES,
    stuff_classes=STUFF_CLASSES,
    depth_range=DEPTH_RANGE,
    intrinsics=INTRINSICS,
    protocol="nyud40_480x640",
)
