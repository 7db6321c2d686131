"""Table 4, through the command line."""

import analyze_model
from command_line import run

FILES = [f"configs/quick_schedules/{name}_rooms_quick.yaml" for name in ("ssd", "rock")]


def test_one_table_for_several_configs(tmp_path):
    options = ["--latency", "--rounds", "3", "--warm-up", "1", "--device", "cpu"]
    done = run(
        *("-W", "ignore", "tools/analyze_model.py", *options),
        *("--config-file", *FILES, "MODEL.ROCK.WIDTH", "32"),
        root=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    sizes, note, times = done.stdout.strip().split("\n\n")
    sizes, times = (
        [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
        for table in (sizes, times)
    )
    assert {len(row) for row in sizes} == {1 + 2 * 3}
    assert [row[0] for row in sizes] == [
        "part",
        "---",
        "backbone",
        "neck.trunk",
        "neck.encoders",
        "neck.fusion",
        "head",
        "**total**",
        "of it for scene",
        "of it for depth",
        "of it for normals",
    ]
    # 128 * 32 + 9 * 32^2 + 4 * 32 = 13,440.
    assert sizes[3][1:5] == ["", "", "", "0.01"]
    assert note == "3 rounds on cpu, 1 CPU thread"
    assert [row[0] for row in times[2:]] == ["ssd_rooms_quick", "rock_rooms_quick"]
    assert times[2][3] == "1.00"
    for _, median, quartiles, _ in times[2:]:
        low, high = map(float, quartiles.split(" to "))
        assert 0 < low <= float(median) <= high


def test_files_of_one_name_have_columns_of_their_own():
    files = ["a/rock.yaml", "b/rock.yaml", "b/ssd.yaml"]
    assert analyze_model.named(files) == dict(zip(["a/rock", "b/rock", "ssd"], files, strict=True))
