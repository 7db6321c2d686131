"""Table 4, through the command line."""

import analyze_model
import pytest
from command_line import ROOT

FILES = [str(ROOT / f"configs/quick_schedules/{name}_rooms_quick.yaml") for name in ("ssd", "rock")]


def grid(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]


@pytest.mark.filterwarnings("ignore")
def test_one_table_for_several_configs(capsys):
    options = ["--latency", "--rounds", "3", "--warm-up", "1", "--device", "cpu"]
    analyze_model.main([*options, "--config-file", *FILES, "MODEL.ROCK.WIDTH", "32"])
    sizes, note, times = capsys.readouterr().out.strip().split("\n\n")
    sizes, times = grid(sizes), grid(times)
    assert {len(row) for row in sizes} == {1 + 2 * 3}
    assert [row[0] for row in sizes[2:]] == [
        *("backbone", "head", "neck.trunk", "neck.encoders", "neck.fusion", "**total**"),
        *("for scene alone", "for depth alone", "for normals alone"),
    ]
    # 128 * 32 + 9 * 32^2 + 4 * 32 = 13,440.
    assert sizes[4][1:5] == ["", "", "", "0.01"]
    assert note.startswith("An image, 3 rounds on cpu")
    assert [row[0] for row in times[2:]] == ["ssd_rooms_quick", "rock_rooms_quick"]
    assert times[2][3] == "1 (1 to 1)"


@pytest.mark.filterwarnings("ignore")
def test_a_python_config_is_a_model_like_others(capsys):
    analyze_model.main(["--config-file", "lazy/rock_nyuv2.py", "INPUT.SIZE", "[64, 64]"])
    (total,) = [row for row in grid(capsys.readouterr().out) if row[0] == "**total**"]
    # docs/PAPERS.md's number of the yaml's model.
    assert total[1] == "35.51"


@pytest.mark.filterwarnings("ignore")
def test_sizes_are_compared_with_single_tasks(capsys):
    names = ("single", "mtl", "mti_net")
    single, *others = (f"mti/nyud/{name}_hrnet18.yaml" for name in names)
    analyze_model.main(["--single", single, "--config-file", *others, "INPUT.SIZE", "[96, 128]"])
    rows = {row[0]: row[1:] for row in grid(capsys.readouterr().out)}
    # MTI-Net's table 7 by its published code, as changes over both single tasks.
    cells = " ".join(" ".join([name, *row]) for name, row in rows.items())
    assert "-49.0 %" in cells and "+8.9 %" in cells
