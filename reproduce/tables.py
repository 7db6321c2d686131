"""The models that each of the paper's tables compares, and the paper's own figures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rock_d2.tasks import PAPER_TASKS

# The columns of all tables, as results.json names them; average precision in percent.
METRICS = ("bbox/AP50", "bbox/AP75", "bbox/AP")


@dataclass(frozen=True)
class Row:
    """One model of a table.

    Attributes:
        title: as the paper calls it.
        config: the file in configs/ablations that makes the model, without its ending.
        paper: the paper's figures, None where it gives none.
        against: the title of the row that this one is compared with, seed by seed; "" for none.
        fraction: of the training images that the model sees.
        boxed: share of these whose boxes it sees; half of each batch comes from them.
        maps: of the backbone that X's pyramid has, the finest; 0: those of the config.
        switched_off: registered tasks whose decoders are left out when the trained model is
            evaluated once more; None where the training's own evaluation counts.
    """

    title: str
    config: str
    paper: tuple[float | None, ...] = (None, None, None)
    against: str = ""
    fraction: float = 1.0
    boxed: float = 1.0
    maps: int = 0
    switched_off: tuple[str, ...] | None = None

    @property
    def run_name(self) -> str:
        """The name of its runs: rows of different tables may share them."""
        name = self.config
        name += f"_{100 * self.fraction:g}" if self.fraction < 1 else ""
        name += f"_boxed_{100 * self.boxed:g}" if self.boxed < 1 else ""
        return name + (f"_maps_{self.maps}" if self.maps else "")


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: its number in the paper, or its name on the command line.
        title: its subject.
        rows: the models; those that others are compared with are among them.
        split: "val", of the paper's division of the training images, or "test".
        notes: paragraphs for the reader.
        dataset: the only one that it is for, a key of plan.SPLITS; "" for all that have the labels
            of NYUv2.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    split: str = "val"
    notes: tuple[str, ...] = ()
    dataset: str = ""


_LETTERS = ", ".join(f"{name[0]}: {name.lower()}" for name in PAPER_TASKS)
_FROM_TABLE_1 = "Rows of table 1 stand here for comparison; they are the same runs."

BASELINE = Row("Detection baseline", "table1_baseline", (31.2, 15.8, 16.2))
FLAT = Row("Flat MTL baseline", "table1_flat", (34.3, 16.0, 17.4), BASELINE.title)
ROCK = Row("ROCK", "table1_rock", (37.6, 17.1, 18.5), BASELINE.title)
_FLAT_DNS = replace(FLAT, title="Flat MTL (DNS)", against="")
_ROCK_DNS = replace(ROCK, title="ROCK (DNS)", against="")
# Without the paper's figures, for tables of our own.
_BASELINE = replace(BASELINE, paper=(None, None, None))
_ROCK = replace(ROCK, paper=(None, None, None))
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
        ),
        split="test",
        notes=(
            _LETTERS,
            "The paper has no baseline in this table, and a row that is pre-trained on MLT.",
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
        dataset="cityscapes",
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
        "unboxed",
        "Boxes for few images, labels of the tasks for all",
        tuple(row for share in (16, 8, 4) for row in unboxed_rows(share)),
        notes=(
            "All rows have as many iterations. In the rows with all images half of each batch has "
            "boxes; the others have unknown boxes and no detection loss.",
        ),
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
)
ELSEWHERE = {"4": "table 4 (size and speed) comes from tools/analyze_model.py --latency"}
DECODERS = "decoders"


def find_table(name: str) -> Table:
    """Return the table of that name; raise ValueError if there is none."""
    if name == DECODERS:
        return decoders_table(PAPER_TASKS)
    tables = {table.name: table for table in TABLES}
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
        Row(title, ROCK.config, against=whole.title, switched_off=off)
        for title, off in choices.items()
    )
    return Table(
        DECODERS,
        "ROCK, trained with all tasks, with decoders switched off at test time",
        (whole, *rows),
        notes=("The rows evaluate the same trained models. The paper has no such table.",),
    )
