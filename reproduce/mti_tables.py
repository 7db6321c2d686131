"""The models that MTI-Net's tables compare, and the paper's own figures (ECCV 2020)."""

import json
from dataclasses import replace
from typing import Any

from reproduce.other_papers import OTHERS_5, OTHERS_6
from reproduce.table import GAIN, Column, Row, Table

NYUD = ("SemSeg", "Depth")
PASCAL = ("SemSeg", "HumanParts", "Saliency", "Edges", "Normals")
# The small set of tasks of PASCAL.
SMALL = PASCAL[:3]

SEG = Column("sem_seg/miou", "Seg", scale=100, digits=2)
DEPTH = Column("depth/rmse", "Dep", digits=3)
DELTA = Column(GAIN, "Δm", digits=2)
NYUD_COLUMNS = (SEG, DEPTH, DELTA)
PASCAL_COLUMNS = (
    SEG,
    Column("human_parts/miou", "Parts", scale=100, digits=2),
    Column("saliency/miou", "Sal", scale=100, digits=2),
    Column("edges/odsF", "Edge", scale=100, digits=2),
    Column("normals/mean_angle", "Norm", digits=2),
    DELTA,
)
DEPTH_COLUMNS = (
    replace(DEPTH, title="rmse"),
    Column("depth/abs_rel", "rel", digits=3),
    *(Column(f"depth/delta{i}", f"δ{i}", digits=3) for i in (1, 2, 3)),
)
SEG_COLUMNS = (
    Column("sem_seg/pixel_acc", "pix-acc", scale=100, digits=2),
    Column("sem_seg/mean_acc", "mean-acc", scale=100, digits=2),
    replace(SEG, title="IoU"),
)

SINGLE = "Single task"
# Without auxiliary tasks.
SYSTEMS = (SINGLE, "MTL", "PAD-Net", "Ours")
NOTES = (
    "Δm: mean over the main tasks of the gain in percent over single-task networks with the same "
    "backbone and seed, a lower error being a gain.",
    "Models that stand in several tables are the same runs.",
)
EDGES_NOTE = (
    "Edges and the other tasks are measured on all 5 105 images, edges after non-maximum "
    "suppression; MTI-Net's rows of the paper have edges on 2 498 of them and without."
)
WIDTH_NOTE = "The paper does not tell how wide its networks on FPN are; here they have 64 channels."


def nyud_rows(backbone: str, papers: dict[str, tuple[float | None, ...]]) -> tuple[Row, ...]:
    """Return the rows that the paper gives figures for, of segmentation and depth."""
    files = {
        "MTL": "mtl",
        "PAD-Net": "pad_net",
        "Ours w/o FPM": "mti_net_no_fpm",
        "Ours": "mti_net",
    }
    ends = {"": "", " (N)": "_n", " (N+E)": "_ne"}
    rows = [Row(SINGLE, f"single_{backbone}", papers[SINGLE], alone=NYUD)]
    for title, file in files.items():
        rows += [
            Row(title + end, f"{file}{suffix}_{backbone}", papers[title + end], SINGLE)
            for end, suffix in ends.items()
            if title + end in papers
        ]
    return tuple(rows)


def pascal_rows(backbone: str, papers: dict[str, tuple[float | None, ...]]) -> tuple[Row, ...]:
    """Return the rows of the small (s) and of the whole set of tasks (a)."""
    rows = [Row(SINGLE, f"single_{backbone}", papers[SINGLE], alone=PASCAL)]
    for title, file in (("MTL", "mtl"), ("Ours", "mti_net")):
        model = Row(f"{title} (a)", f"{file}_{backbone}", papers[f"{title} (a)"], SINGLE)
        for auxiliary in ((), ("Edges",), ("Normals",), ("Edges", "Normals")):
            letters = f" ({'+'.join(task[0] for task in auxiliary)})" if auxiliary else ""
            name, called = f"{title} (s){letters}", "_".join(("_small", *map(str.lower, auxiliary)))
            if name in papers:
                pairs = ("MODEL.TASKS.MAIN", json.dumps(SMALL))
                pairs += ("MODEL.TASKS.AUXILIARY", json.dumps(auxiliary)) if auxiliary else ()
                row = replace(model, title=name, paper=papers[name], more=pairs, called=called)
                rows.append(row)
        rows.append(model)
    return tuple(rows)


TABLE_2A = nyud_rows(
    "hrnet18",
    {
        SINGLE: (33.18, 0.667, 0.0),
        "MTL": (32.09, 0.668, -1.71),
        "PAD-Net": (32.80, 0.660, -0.02),
        "PAD-Net (N)": (33.85, 0.658, 1.65),
        "PAD-Net (N+E)": (32.92, 0.655, 0.52),
        "Ours w/o FPM": (34.38, 0.640, 3.85),
        "Ours w/o FPM (N)": (34.49, 0.642, 3.84),
        "Ours w/o FPM (N+E)": (34.68, 0.637, 4.48),
        "Ours": (35.12, 0.620, 6.40),
        "Ours (N)": (36.22, 0.600, 9.57),
        "Ours (N+E)": (37.49, 0.607, 10.91),
    },
)
TABLE_2B = pascal_rows(
    "hrnet18",
    {
        SINGLE: (60.07, 60.74, 67.18, 69.70, 14.59, 0.0),
        "MTL (s)": (54.53, 59.54, 65.60, None, None, -4.26),
        "MTL (a)": (53.60, None, 65.13, 70.60, 15.08, -3.70),
        "Ours (s)": (64.06, 62.39, 68.09, None, None, 3.35),
        "Ours (s) (E)": (64.98, 62.90, 67.84, None, None, 3.98),
        "Ours (s) (N)": (63.74, 61.75, 67.90, None, None, 2.69),
        "Ours (s) (E+N)": (64.33, 62.33, 68.00, None, None, 3.36),
        "Ours (a)": (64.27, 62.06, 68.00, 73.40, 14.75, 2.74),
    },
)
_ST_2A, _OURS_2A = TABLE_2A[0], next(row for row in TABLE_2A if row.title == "Ours")
TABLE_3 = (
    _ST_2A,
    Row("1/4 (PAD-Net)", "pad_net_hrnet18", (32.80, 0.660, -0.02), SINGLE),
    Row("1/4 (MTI-Net)", "mti_net_1_scale_hrnet18", against=SINGLE),
    Row("1/4, 1/8", "mti_net_2_scales_hrnet18", (34.88, 0.650, 3.80), SINGLE),
    Row("1/4, 1/8, 1/16", "mti_net_3_scales_hrnet18", (None, None, 5.53), SINGLE),
    replace(_OURS_2A, title="1/4, 1/8, 1/16, 1/32"),
)
TABLE_4 = (
    _ST_2A,
    *(
        replace(
            _OURS_2A,
            title=f"Front-end, 1/{stride}",
            paper=paper,
            evaluate=("MODEL.MTI.EVALUATE_SCALE", f"s{stride}"),
            called=f"_front_end_s{stride}",
        )
        for stride, paper in (
            (32, (32.02, 0.670, None)),
            (16, (33.02, 0.660, 0.02)),
            (8, (33.67, 0.640, 2.72)),
            (4, (34.05, 0.633, 3.78)),
        )
    ),
    replace(_OURS_2A, title="Final"),
)


def table_5() -> tuple[Row, ...]:
    """Return single-task and multi-task networks of all backbones on PASCAL."""
    single = {
        "R18-FPN": (64.5, 57.4, 66.4, 68.2, 14.8, None, None),
        "R50-FPN": (67.7, 61.8, 67.2, 71.1, 14.8, None, None),
        "HRNet-18": (60.1, 60.7, 67.2, 69.7, 14.6, None, None),
    }
    files = {name: name.lower().replace("-fpn", "_fpn").replace("-", "") for name in single}
    several = {
        ("PAD-Net", "HRNet-18"): (53.6, 59.6, 65.8, 72.5, 15.3, -3.08, -5.58),
        ("Ours", "R18-FPN"): (65.7, 61.6, 66.8, 73.9, 14.6, 3.84, 0.29),
        ("Ours", "R50-FPN"): (66.6, 63.3, 66.6, 74.9, 14.6, 1.36, 1.36),
        ("Ours", "HRNet-18"): (64.3, 62.1, 68.0, 73.4, 14.8, 2.74, -0.02),
    }
    neck = {"PAD-Net": "pad_net", "Ours": "mti_net"}
    return (
        *(
            Row(f"{SINGLE}, {name}", f"single_{files[name]}", paper, alone=PASCAL)
            for name, paper in single.items()
        ),
        *(
            Row(f"{title}, {name}", f"{neck[title]}_{files[name]}", paper, f"{SINGLE}, {name}")
            for (title, name), paper in several.items()
        ),
    )


TABLE_6 = nyud_rows(
    "hrnet48",
    {
        SINGLE: (0.547, 0.138, 0.828, 0.966, 0.993, 73.4, 58.1, 45.7),
        "Ours": (0.529, 0.138, 0.830, 0.969, 0.993, 75.3, 62.9, 49.0),
    },
)
TABLE_S1 = pascal_rows(
    "r18_fpn",
    {
        SINGLE: (64.49, 57.43, 66.38, 68.20, 14.77, 0.0),
        "MTL (s)": (54.51, 55.12, 64.76, None, None, -7.32),
        "MTL (a)": (59.61, 56.88, 64.96, 70.60, 15.17, -1.80),
        "Ours (s)": (65.47, 61.32, 66.37, None, None, 2.77),
        "Ours (s) (E)": (65.93, 62.21, 66.80, None, None, 3.61),
        "Ours (s) (N)": (64.99, 61.09, 66.80, None, None, 2.52),
        "Ours (s) (E+N)": (65.46, 61.71, 66.62, None, None, 3.06),
        "Ours (a)": (65.69, 61.59, 66.76, 73.90, 14.55, 3.84),
    },
)
TABLE_S2 = nyud_rows(
    "hrnet18",
    {
        SINGLE: (0.667, 0.186, 0.731, 0.931, 0.981, 65.04, 45.07, 33.18),
        "MTL": (0.668, 0.193, 0.717, 0.927, 0.980, 64.61, 43.55, 32.09),
        "PAD-Net": (0.660, 0.189, 0.726, 0.930, 0.981, 65.00, 44.61, 32.80),
        "PAD-Net (N)": (0.658, 0.187, 0.726, 0.932, 0.982, 64.77, 46.28, 33.85),
        "PAD-Net (N+E)": (0.655, 0.184, 0.731, 0.934, 0.982, 65.05, 44.79, 32.92),
        "Ours w/o FPM": (0.640, 0.181, 0.747, 0.937, 0.982, 65.52, 45.98, 34.38),
        "Ours w/o FPM (N)": (0.642, 0.175, 0.753, 0.940, 0.983, 65.27, 46.63, 34.49),
        "Ours w/o FPM (N+E)": (0.637, 0.174, 0.757, 0.939, 0.984, 66.15, 46.97, 34.68),
        "Ours": (0.620, 0.161, 0.781, 0.946, 0.986, 66.30, 47.85, 35.12),
        "Ours (N)": (0.600, 0.162, 0.788, 0.947, 0.985, 66.98, 49.04, 36.22),
        "Ours (N+E)": (0.607, 0.166, 0.783, 0.945, 0.985, 68.03, 51.05, 37.49),
    },
)
TABLE_S3 = nyud_rows(
    "r18_fpn",
    {
        SINGLE: (34.46, 0.659, 0.0, 65.51, 46.50),
        "MTL": (33.52, 0.665, -1.82, 64.85, 45.33),
        "PAD-Net": (34.15, 0.662, -0.69, 65.23, 45.65, 0.188, 0.731, 0.931, 0.979),
        "PAD-Net (N)": (34.18, 0.657, -0.23, 65.07, 45.80, 0.185, 0.735, 0.934, 0.980),
        "PAD-Net (N+E)": (34.60, 0.668, -0.45, 65.68, 46.77),
        "Ours": (36.01, 0.630, 4.43, 66.44, 49.03),
        "Ours (N)": (36.81, 0.628, 5.74, 66.89, 50.50, 0.180, 0.755, 0.939, 0.982),
        "Ours (N+E)": (36.65, 0.618, 6.27, 67.23, 49.93, 0.169, 0.768, 0.944, 0.984),
    },
)
# Without figures but Δm; the sizes are the paper's changes of parameters and operations in percent.
TABLE_7A = tuple(replace(row, paper=(row.paper[2],)) for row in TABLE_2A if row.title in SYSTEMS)
SIZES_7A = {"MTL": (-50.0, -45.0), "PAD-Net": (-15.0, 204.0), "Ours": (57.0, -13.0)}
TABLE_7B = (
    Row(SINGLE, "single_r50_fpn", (0.0,), alone=PASCAL),
    Row("MTL", "mtl_r50_fpn", (-4.55,), SINGLE),
    Row("Ours", "mti_net_r50_fpn", (1.36,), SINGLE),
)
SIZES_7B = {"MTL": (-75.0, -66.0), "ASTMT": (-51.0, -1.0), "Ours": (-35.0, -19.9)}


def table(
    name: str, title: str, rows: tuple[Row, ...], columns: tuple[Column, ...], **more: Any
) -> Table:
    is_nyud = rows[0].alone == NYUD
    kind = {"datasets": ("nyud", "rooms"), "protocol": "nyud40_480x640"}
    if not is_nyud:
        kind = {"datasets": ("pascal",), "protocol": "pascal_mt_5105"}
    notes = NOTES if is_nyud else (*NOTES, EDGES_NOTE)
    if any("fpn" in row.config for row in rows):
        notes = (*notes, WIDTH_NOTE)
    kind |= {"columns": columns, "compared": DELTA, "configs": "mti", "notes": notes} | more
    return Table(name, f"MTI-Net's table {name[3:]}: {title}", rows, "test", **kind)


MTI_TABLES = (
    table("mti2a", "ablation on NYUD-v2", TABLE_2A, NYUD_COLUMNS),
    table("mti2b", "ablation on PASCAL-Context", TABLE_2B, PASCAL_COLUMNS),
    table(
        "mti3",
        "scales",
        TABLE_3,
        NYUD_COLUMNS,
        notes=(*NOTES, "PAD-Net is the paper's row of one scale; MTI-Net with one is ours."),
    ),
    table(
        "mti4",
        "predictions before and after distillation",
        TABLE_4,
        NYUD_COLUMNS,
        notes=(*NOTES, "Front-end rows are the initial predictions of the trained MTI-Net."),
    ),
    table(
        "mti5",
        "PASCAL-Context, other backbones",
        table_5(),
        (*PASCAL_COLUMNS, Column(GAIN, "Δm R50-FPN", digits=2, over=f"{SINGLE}, R50-FPN")),
        others=OTHERS_5,
    ),
    table(
        "mti6",
        "NYUD-v2, HRNet-48",
        TABLE_6,
        (*DEPTH_COLUMNS, *SEG_COLUMNS, DELTA),
        datasets=("nyud",),
        others=OTHERS_6,
    ),
    table("mti7a", "sizes, NYUD-v2 with HRNet-18", TABLE_7A, (DELTA,), sizes=SIZES_7A),
    table(
        "mti7b",
        "sizes, PASCAL-Context with R50-FPN",
        TABLE_7B,
        (DELTA,),
        sizes=SIZES_7B,
        others={"ASTMT": (-0.87,)},
    ),
    table("mtiS1", "PASCAL-Context, R18-FPN", TABLE_S1, PASCAL_COLUMNS),
    table("mtiS2", "NYUD-v2, HRNet-18", TABLE_S2, (*DEPTH_COLUMNS, *SEG_COLUMNS, DELTA)),
    table(
        "mtiS3",
        "NYUD-v2, R18-FPN",
        TABLE_S3,
        (*NYUD_COLUMNS, *SEG_COLUMNS[:2], *DEPTH_COLUMNS[1:]),
    ),
)
