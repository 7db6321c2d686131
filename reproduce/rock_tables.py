"""The models that ROCK's tables compare, and the paper's own figures."""

from dataclasses import replace

from reproduce.table import Row, Table
from rock_d2.tasks import PAPER_TASKS

_LETTERS = ", ".join(f"{name[0]}: {name.lower()}" for name in PAPER_TASKS)
FROM_TABLE_1 = "Rows of table 1 stand here for comparison; they are the same runs."

BASELINE = Row("Detection baseline", "table1_baseline", (31.2, 15.8, 16.2))
FLAT = Row("Flat MTL baseline", "table1_flat", (34.3, 16.0, 17.4), BASELINE.title)
ROCK = Row("ROCK", "table1_rock", (37.6, 17.1, 18.5), BASELINE.title)
_FLAT_DNS = replace(FLAT, title="Flat MTL (DNS)", against="")
_ROCK_DNS = replace(ROCK, title="ROCK (DNS)", against="")
# Without the paper's figures.
_BASELINE = replace(BASELINE, paper=())
_D_SUM = Row("El.-wise addition (D only)", "table5_d_sum", (30.9, 14.8, 16.1), BASELINE.title)

ROCK_TABLES = (
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
        notes=(_LETTERS, FROM_TABLE_1),
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
        notes=(_LETTERS, FROM_TABLE_1),
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
)
