"""README's commands for training, evaluating and looking, as they stand there."""

import re
import shutil
from collections.abc import Iterator

from command_line import ROOT, run, run_warm

# One needs NYUv2, the other serves a page for ever (tests/tools/test_demo_web.py).
ELSEWHERE = {"configs/rock_nyuv2.yaml", "--web"}


def commands(section: str) -> Iterator[list[str]]:
    text = (ROOT / "README.md").read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    for block in re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            words = line.split("  #")[0].replace('"', "").split()
            if not ELSEWHERE & set(words):
                yield words


def test_they_run(rooms_root, tmp_path):
    shutil.copy(next((rooms_root / "rooms/images").iterdir()), tmp_path / "image.png")
    here = {
        "configs/rock_rooms.yaml": "configs/quick_schedules/rock_rooms_quick.yaml",
        "output/rock_rooms": f"{tmp_path}/trained",
        "image.jpg": f"{tmp_path}/image.png",
        " out ": f" {tmp_path}/out ",
    }
    # Two images for each of two processes.
    short = ("SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "4")
    output_of = {
        "train_net.py": (*short, "OUTPUT_DIR", f"{tmp_path}/trained"),
        "visualize_predictions.py": ("--output-dir", f"{tmp_path}/pictures"),
    }
    ran = []
    for section in ("Train", "Evaluate", "Look"):
        for words in commands(section):
            line = " ".join(words)
            for there, place in here.items():
                line = line.replace(there, place)
            program, *arguments = line.split()
            tool = next(word for word in arguments if word.endswith(".py")).split("/")[-1]
            arguments += output_of.get(tool, ())
            if program == "torchrun":
                done = run("-m", "torch.distributed.run", *arguments, root=rooms_root)
            else:
                done = run_warm(*arguments, root=rooms_root)
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            ran.append(tool)
    assert ran.count("train_net.py") == 4
    assert {"evaluate_predictions.py", "visualize_predictions.py", "demo.py"} <= set(ran)
    assert (tmp_path / "trained/results.json").is_file()
    assert list((tmp_path / "pictures").iterdir())
    assert list((tmp_path / "out").iterdir())
