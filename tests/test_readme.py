"""README's commands for training, evaluating and looking, as they stand there."""

import re
import runpy
import shutil

from command_line import ROOT

# One needs NYUv2, the other is tested in tests/engine/test_processes.py.
ELSEWHERE = {"configs/rock_nyuv2.yaml", "torchrun"}
QUICK = "configs/quick_schedules/rock_rooms_quick.yaml"


def commands() -> list[str]:
    section = (ROOT / "README.md").read_text().split("\n## Train, evaluate, look\n")[1]
    lines = re.search(r"^```\n(.*?)^```", section, re.DOTALL | re.MULTILINE)[1].splitlines()
    return [line for line in lines if not ELSEWHERE & set(line.split())]


def test_they_run(rooms_root, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(rooms_root))
    shutil.copy(next((rooms_root / "rooms/images").iterdir()), tmp_path / "image.png")
    here = {
        "configs/rock/rock_rooms.yaml": QUICK,
        "output/rock_rooms": f"{tmp_path}/trained",
        "image.jpg": f"{tmp_path}/image.png",
        "--output out": f"--output {tmp_path}/out",
    }
    short = ("INPUT.SIZE", "[64, 96]", "SOLVER.MAX_ITER", 1, "SOLVER.IMS_PER_BATCH", 2)
    options = {
        "train_net": short,
        "visualize_predictions": ("--output-dir", tmp_path / "pictures", *short[:2]),
        "demo": ("--opts", *short[:2]),
    }
    ran = []
    for line in commands():
        for there, place in here.items():
            line = line.replace(there, place)
        _, program, *arguments = line.split()
        tool = program.removeprefix("tools/").removesuffix(".py")
        arguments += options[tool]
        if tool == "train_net":
            arguments += ("OUTPUT_DIR", tmp_path / ("trained" if QUICK in line else "other"))
        monkeypatch.setattr("sys.argv", [program, *map(str, arguments)])
        runpy.run_path(str(ROOT / program), run_name="__main__")
        ran.append(tool)
    assert ran == ["train_net"] * 3 + ["visualize_predictions", "demo"]
    assert (tmp_path / "trained/results.json").is_file()
    assert list((tmp_path / "pictures").iterdir())
    assert list((tmp_path / "out").iterdir())
