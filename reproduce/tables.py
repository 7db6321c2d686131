"""The models that ROCK's tables compare, and the paper's own figures."""

import json
from collections.abc import Sequence
from dataclasses import replace

from reproduce.mti_tables import MTI_TABLES
from reproduce.table import Row, Table
from rock_d2.tasks import PAPER_TASKS

_LETTERS = ", ".join(f"{name[0]}: {name.lower()}" for name in PAPER_TASKS)
_FROM_TABLE_1 = "Rows of table 1 stand here for comparison; they are the same runs."

BASELINE = Row("Detection baseline", "table1_baseline", (31.2, 15.8, 16.2))
FLAT = Row("Flat MTL baseline", "table1_flat", (34.3, 16.0, 17.4), BASELINE.title)
ROCK = Row("ROCK", "table1_rock", (37.6, 17.1, 18.5), BASELINE.title)
_FLAT_DNS = replace(FLAT, title="Flat MTL (DNS)", against="")
_ROCK_DNS = replace(ROCK, title="ROCK (DNS)", against="")
# Without the paper's figures, for tables of our own.
_BASELINE = replace(BASELINE, paper=())
_ROCK = replace(ROCK, paper=())
_D_SUM = Row("El.-wise addition (D only)", "table5_d_sum", (30.9, 14.8, 16.1), BASELINE.title)


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
    ),
    "called": "_plain_and_depth",
}
_ROCK_PLAIN = replace(_ROCK, title="ROCK, plain rooms", against="Baseline, plain rooms", **_PLAIN)


TABLES = (
    Table(
        "1",
        "Ablation study of ROCK",
        (
            BASELINE,
            FLAT,
            Row("ROCK w/o fusion", "table1_no_fusion", (35.7, 16.2, 17.4), BASELINE.title),
            ROCK,
        ),
    ),
    Table(
        "2",
        "Ablation study of auxiliary supervisions",
        (
            _FLAT_DNS,
            Row("Flat MTL (DN)", "table2_flat_dn", (32.1, 15.9, 16.1), _FLAT_DNS.title),
            Row("Flat MTL (DS)", "table2_flat_ds", (32.7, 15.9, 16.3), _FLAT_DNS.title),
            Row("Flat MTL (NS)", "table2_flat_ns", (32.7, 15.8, 16.1), _FLAT_DNS.title),
            _ROCK_DNS,
            Row("ROCK (DN)", "table2_rock_dn", (34.0, 16.6, 16.8), _ROCK_DNS.title),
            Row("ROCK (DS)", "table2_rock_ds", (33.2, 16.1, 16.3), _ROCK_DNS.title),
            Row("ROCK (NS)", "table2_rock_ns", (35.1, 16.8, 17.1), _ROCK_DNS.title),
        ),
        notes=(_LETTERS, _FROM_TABLE_1),
    ),
    Table(
        "3",
        "Detection results on the test images",
        (
            _BASELINE,
            Row("ROCK (D)", "table5_d_sum", (37.1, None, None), BASELINE.title),
            replace(_ROCK_DNS, paper=(39.8, None, None), against=BASELINE.title),
            Row(
                "ROCK (DNS), pre-trained",
                ROCK.config,
                (46.8, None, None),
                against=_ROCK_DNS.title,
                pretrained=True,
            ),
        ),
        split="test",
        notes=(
            _LETTERS,
            "The paper has no baseline in this table.",
            "The last row is pre-trained with depth and normals on a rendered set, without scenes "
            "(the paper: MLT, with 23 classes; rooms: those of another style, with 23), "
            "and then has the other rows' iterations. One pre-training, of the first seed, serves "
            "all seeds: "
            "differences between seeds are those of the fine-tuning.",
        ),
    ),
    Table(
        "5",
        "Analysis of the architecture of ROCK",
        (
            BASELINE,
            ROCK,
            Row("ROCK w/o aux. sup.", "table5_no_supervision", (30.6, 15.6, 16.2), BASELINE.title),
            _D_SUM,
            Row("El.-wise product (D only)", "table5_d_product", (32.3, 16.2, 17.3), _D_SUM.title),
        ),
        notes=(_LETTERS, _FROM_TABLE_1),
    ),
    Table(
        "6",
        "Effectiveness of additional supervision",
        (
            BASELINE,
            *(
                Row(f"ROCK on {percent} %", ROCK.config, paper, BASELINE.title, percent / 100)
                for percent, paper in (
                    (60, (29.5, 12.2, 13.9)),
                    (70, (32.8, 14.5, 15.9)),
                    (80, (34.7, 16.2, 17.0)),
                )
            ),
            replace(ROCK, title="ROCK on 100 %"),
        ),
        notes=(
            "Subsets are whole images and nested, the same for every seed. The rows with all "
            "images are the runs of table 1.",
        ),
    ),
    Table(
        "7",
        "ROCK with disparity on Cityscapes",
        (
            replace(BASELINE, paper=(42.8, 19.0, 21.6)),
            replace(ROCK, paper=(44.0, 19.9, 22.7)),
        ),
        datasets=("cityscapes",),
    ),
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
                    ("Geometry (depth and normals)", "geometry"),
                )
            ),
        ),
        notes=(
            "The decoders of given tasks take the encoding of the labels, in training and at test "
            "time: the most that a task can bring on this data. " + _FROM_TABLE_1,
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
            "given with a chance of one half. " + _FROM_TABLE_1,
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
            "All rows have as many iterations and are scored on the rooms. Of the third, half of a "
            "batch are plain rooms with all labels, half rooms with depth alone. The last row, of "
            "table 1, has the labels of the rooms.",
        ),
        datasets=("rooms", "rooms_scratch"),
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
        notes=("docs/PAPERS.md has their formulas. " + _FROM_TABLE_1,),
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
)
ELSEWHERE = {"4": "table 4 (size and speed) comes from tools/analyze_model.py --latency"}
DECODERS = "decoders"


def find_table(name: str) -> Table:
    """Return the table of that name; raise ValueError if there is none."""
    if name == DECODERS:
        return decoders_table(PAPER_TASKS)
    tables = {table.name: table for table in (*TABLES, *MTI_TABLES)}
    if name not in tables:
        known = f"there are {', '.join(tables)} and {DECODERS}"
        raise ValueError(f"{ELSEWHERE.get(name, f'{name!r} is no table')}; {known}")
    return tables[name]


def decoders_table(tasks: Sequence[str]) -> Table:
    """Return the table of what ROCK loses without the features of one task, or of all."""
    whole = replace(_ROCK, title=_ROCK_DNS.title, against="")
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
