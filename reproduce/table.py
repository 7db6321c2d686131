"""Tables with models in rows and figures in columns."""

from dataclasses import dataclass, field
from itertools import zip_longest

# As a column: the mean gain over a baseline, rock_d2/evaluation/gain.py.
GAIN = "delta_m"


@dataclass(frozen=True)
class Column:
    """One figure of every model.

    Attributes:
        metric: ``<task>/<metric>`` as results.json names it, or GAIN.
        title: for people; by default the metric's last part.
        scale: from the unit of results.json to that of the paper.
        digits: behind the point.
        over: of GAIN, the title of its baseline's row; "" for that which the row is compared with.
    """

    metric: str
    title: str = ""
    scale: float = 1.0
    digits: int = 1
    over: str = ""

    @property
    def name(self) -> str:
        return self.title or self.metric.split("/")[-1]


# Average precision in percent; the models are compared by the first.
DETECTION = (Column("bbox/AP50"), Column("bbox/AP75"), Column("bbox/AP"))


@dataclass(frozen=True)
class Row:
    """One model of a table.

    Attributes:
        title: as the paper calls it.
        config: the file in the table's folder of configs that makes the model, without its ending.
        paper: the paper's figures by column, None where it gives none.
        against: the title of the row that this one is compared with, seed by seed; "" for none.
        fraction: of the training images that the model sees.
        boxed: share of these whose boxes it sees; half of each batch comes from them.
        maps: of the backbone that X's pyramid has, the finest; 0: those of the config.
        pretrained: whether it goes on from a pre-training on another data set.
        alone: registered tasks each of which is learned in a run of its own.
        more: KEY VALUE pairs beyond the config's.
        evaluate: KEY VALUE pairs with which the trained model is evaluated once more; () where the
            training's own evaluation counts.
        called: what these pairs add to the name of its runs.
    """

    title: str
    config: str
    paper: tuple[float | None, ...] = ()
    against: str = ""
    fraction: float = 1.0
    boxed: float = 1.0
    maps: int = 0
    pretrained: bool = False
    alone: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    evaluate: tuple[str, ...] = ()
    called: str = ""

    @property
    def run_name(self) -> str:
        """The name of its runs: rows of different tables may share them."""
        name = self.config
        name += f"_{100 * self.fraction:g}" if self.fraction < 1 else ""
        name += f"_boxed_{100 * self.boxed:g}" if self.boxed < 1 else ""
        name += "_pretrained" if self.pretrained else ""
        name += f"_maps_{self.maps}" if self.maps else ""
        return name if self.evaluate else name + self.called


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: its number in the paper, or its name on the command line.
        title: its subject.
        rows: the models; those that others are compared with are among them.
        split: "val", of ROCK's division of the training images, or "test".
        notes: paragraphs for the reader.
        columns: the figures.
        compared: the column that models are compared by, seed by seed.
        configs: the folder in configs/ of the rows' files; "ablations" are on top of a detector,
            "detectors" are whole ones.
        datasets: those of reproduce/plan.py that it can be made on; () for all of a detector's.
        protocol: of the paper's figures; "" where none fits.
        others: figures of other papers that the table has, by title and column.
        sizes: the paper's changes of parameters and operations over the first row, in percent, by
            title; {} for a table without.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    split: str = "val"
    notes: tuple[str, ...] = ()
    columns: tuple[Column, ...] = DETECTION
    compared: Column = DETECTION[0]
    configs: str = "ablations"
    datasets: tuple[str, ...] = ()
    protocol: str = ""
    others: dict[str, tuple[float | None, ...]] = field(default_factory=dict)
    sizes: dict[str, tuple[float, float]] = field(default_factory=dict)

    def papers(self, row: Row) -> dict[Column, float | None]:
        """Return the paper's figures of a row."""
        return dict(zip_longest(self.columns, row.paper))

    def row(self, title: str) -> Row | None:
        return next((row for row in self.rows if row.title == title), None)
