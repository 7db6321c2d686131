"""Comparisons that neither paper has."""

import json
from collections.abc import Sequence
from dataclasses import replace

from reproduce.mti_tables import DELTA, NOTES, NYUD_COLUMNS, SYSTEMS, TABLE_S3, nyud_rows
from reproduce.rock_tables import BASELINE, FROM_TABLE_1, ROCK
from reproduce.table import Row, Table
from rock_d2.tasks import PAPER_TASKS

DECODERS = "decoders"
# Without the paper's figures.
_BASELINE = replace(BASELINE, paper=())
_ROCK = replace(ROCK, paper=())


def unboxed_rows(share: int) -> tuple[Row, ...]:
    """Return the models with boxes for one image in ``share``."""
    images = f"1/{share} of the images"
    alone = replace(
        _BASELINE, title=f"Detection baseline on {images}", against="", fraction=1 / share
    )
    rock = replace(_ROCK, title=f"ROCK on {images}", against=alone.title, fraction=1 / share)
    title = f"ROCK on all, boxes for {images}"
    return alone, rock, replace(_ROCK, title=title, against=rock.title, boxed=1 / share)


# Of the adaptation from the plain rooms to the rooms; the last is configs/rock/adapt_rooms.yaml.
_PLAIN = {"more": ("DATASETS.TRAIN", '["rooms_plain_train"]'), "called": "_plain"}
_PLAIN_AND_DEPTH = {
    "more": (
        *("DATASETS.TRAIN", '["rooms_plain_train", "rooms_train"]'),
        *("DATASETS.KEEP_LABELS", '["all", "depth"]', "DATALOADER.BOXED_SHARE", "0.5"),
        # 8 with boxes, as the other rows have.
        *("SOLVER.IMS_PER_BATCH", "16"),
    ),
    "called": "_plain_and_depth",
}
_ROCK_PLAIN = replace(_ROCK, title="ROCK, plain rooms", against="Baseline, plain rooms", **_PLAIN)


OWN_TABLES = (
    Table(
        "oracle",
        "ROCK with true labels in place of predictions",
        (
            _BASELINE,
            _ROCK,
            *(
                Row(f"{which} given", f"oracle_{file}", against=BASELINE.title)
                for which, file in (
                    ("All tasks", "all"),
                    ("Scene alone", "scene"),
                    ("Depth alone", "depth"),
                    ("Normals alone", "normals"),
                    ("Geometry (depth and normals)", "geometry"),
                )
            ),
        ),
        notes=(
            "The decoders of given tasks take the encoding of the labels, in training and at test "
            "time: the most that a task can bring on this data. " + FROM_TABLE_1,
        ),
    ),
    Table(
        "given",
        "ROCK that may be given true labels at test time",
        (
            _BASELINE,
            _ROCK,
            Row("Trained with and without labels, all given", "given_at_test", against=ROCK.title),
            *(
                Row(
                    f"The same, {title} given",
                    "given_at_test",
                    against=ROCK.title,
                    evaluate=("MODEL.ROCK.GIVEN", json.dumps(names)),
                    called=f"_given_{title}",
                )
                for title, names in {
                    **{name.lower(): [name] for name in PAPER_TASKS},
                    "nothing": [],
                }.items()
            ),
        ),
        notes=(
            "Rows of the same model evaluate the same trained weights. In training each label is "
            "given with a chance of one half. " + FROM_TABLE_1,
        ),
    ),
    Table(
        "unboxed",
        "Boxes for few images, labels of the tasks for all",
        tuple(row for share in (16, 8, 4) for row in unboxed_rows(share)),
        notes=(
            "All rows have as many iterations, and as many images with boxes in each. Rows with "
            "all images have as many without beside them, which have no detection loss.",
        ),
    ),
    Table(
        "adaptation",
        "From the plain rooms to the rooms",
        (
            replace(_BASELINE, title=_ROCK_PLAIN.against, **_PLAIN),
            _ROCK_PLAIN,
            replace(
                _ROCK,
                title="ROCK, plain rooms and depth of the rooms",
                against=_ROCK_PLAIN.title,
                **_PLAIN_AND_DEPTH,
            ),
            replace(_ROCK, title="ROCK, rooms", against=_ROCK_PLAIN.title),
        ),
        notes=(
            "All rows have as many iterations and images with boxes in each, and are scored on the "
            "rooms. The third has as many rooms with depth alone beside the plain rooms. The last "
            "row, of table 1, has the labels of the rooms.",
        ),
        datasets=("rooms",),
    ),
    Table(
        "deep_x",
        "ROCK where X holds shallow or deep features",
        (
            replace(_BASELINE, title="Baseline, shallow X", maps=2),
            replace(_ROCK, title="ROCK, shallow X", maps=2, against="Baseline, shallow X"),
            replace(_BASELINE, title="Baseline, deep X"),
            replace(_ROCK, title="ROCK, deep X", against="Baseline, deep X"),
        ),
        notes=("X is the finest map of a pyramid: of two of the backbone's maps, or of all.",),
    ),
    Table(
        "fusions",
        "Fusions beyond the paper",
        (
            _BASELINE,
            Row("No fusion", "table1_no_fusion", against=BASELINE.title),
            Row("Sum (ROCK)", "table1_rock", against="No fusion"),
            *(
                Row(name, f"fusion_{name.lower()}", against="No fusion")
                for name in ("Context", "Gated", "Attention")
            ),
        ),
        notes=("docs/PAPERS.md has their formulas. " + FROM_TABLE_1,),
    ),
    Table(
        "mti_detector",
        "MTI-Net before a detector",
        (
            replace(_BASELINE, config="plain"),
            replace(_ROCK, config="rock"),
            Row("MTI-Net", "mti", against=BASELINE.title),
        ),
        notes=(
            "MTI-Net refines three maps of the pyramid; ROCK the finest of them before SSD, and "
            "before RetinaNet the deepest map that goes into the pyramid.",
        ),
        configs="detectors",
        datasets=("rooms",),
    ),
    Table(
        "mti_lite0",
        "MTI-Net and its baselines from ImageNet weights",
        nyud_rows(
            "lite0_fpn", {row.title: row.paper[:3] for row in TABLE_S3 if row.title in SYSTEMS}
        ),
        "test",
        notes=(
            *NOTES,
            "EfficientNet-Lite0 with a feature pyramid. The paper's figures are those of its table "
            "S3: NYUD-v2, R18-FPN.",
        ),
        columns=NYUD_COLUMNS,
        compared=DELTA,
        configs="mti",
        datasets=("rooms",),
        protocol="nyud40_480x640",
    ),
)


def decoders_table(tasks: Sequence[str]) -> Table:
    """Return the table of what ROCK loses without the features of one task, or of all."""
    whole = replace(_ROCK, title="ROCK (DNS)", against="")
    choices = {f"without {name.lower()}": (name,) for name in tasks}
    choices["without all of them"] = tuple(tasks)
    rows = (
        Row(
            title,
            ROCK.config,
            against=whole.title,
            evaluate=("MODEL.ROCK.FUSION.SWITCHED_OFF", json.dumps(off)),
            called="_without_" + "_".join(off).lower(),
        )
        for title, off in choices.items()
    )
    return Table(
        DECODERS,
        "ROCK, trained with all tasks, with decoders switched off at test time",
        (whole, *rows),
        notes=("The rows evaluate the same trained models. The paper has no such table.",),
    )
