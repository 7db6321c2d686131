"""Table 4: size and speed of models as they are built, without any training."""

import torch
from detectron2.modeling import build_model

from benchmarks.latency import measure_latency
from benchmarks.timing import ratio, spread
from rock_d2.export.complexity import complexity_of
from rock_d2.export.fuse import inference_copy
from rock_d2.engine.machine import machine
from reproduce.comparison import differing_settings
from reproduce.plan import Plan
from reproduce.sections import Section, setting
from reproduce.tables import Table

ROUNDS, WARM_UP = 30, 5


def complexity_report(plan: Plan, table: Table) -> tuple[list[Section], list[dict[str, object]]]:
    """Sections of a report, and the same in numbers: a row of the table each."""
    configs = {row.title: plan.run(table, row, seed=1).config() for row in table.rows}
    device = next(iter(configs.values())).MODEL.DEVICE
    if device == "cuda" and not torch.cuda.is_available():
        device = "cpu"
    models = {}
    for title, cfg in configs.items():
        cfg.MODEL.DEVICE = "cpu"
        models[title] = build_model(cfg)
    sizes = {title: complexity_of(m, m.input_size).whole for title, m in models.items()}
    deployed = {
        title: inference_copy(model.to(device), configs[title]) for title, model in models.items()
    }
    times = measure_latency(deployed, rounds=ROUNDS, warm_up=WARM_UP)
    first = table.rows[0]
    numbers = []
    for row in table.rows:
        size, milliseconds = sizes[row.title], spread(times[row.title])
        numbers.append(
            {
                "model": row.title,
                "M parameters": size.parameters / 1e6,
                "M parameters, paper": row.paper[0],
                "G multiply-adds": size.flops / 1e9,
                "ms/image": milliseconds.median,
                "lower quartile": milliseconds.low,
                "upper quartile": milliseconds.high,
                "ms/image, paper": row.paper[1],
                "ratio of times": ratio(times, row.title, first.title).median,
                "ratio of times, paper": row.paper[1] / first.paper[1],
            }
        )
    text = [
        f"Times on {machine(on_gpu=device != 'cpu')}: median of {ROUNDS} images, the models in "
        "turns, so that whatever slows the machine down hits both. Weights are random: "
        "non-maximum suppression has next to nothing to do."
    ]
    grid = [[_word(value) for value in row.values()] for row in numbers]
    results = Section("Results", text, list(numbers[0]), grid)
    return [setting(differing_settings(plan, table)), results], numbers


def _word(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
