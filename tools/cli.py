"""The command `rock-d2`: the programs of tools/ and datasets/ by short names."""

import ast
import sys
from pathlib import Path
from types import ModuleType

# Installed, these folders stand side by side as they do in a checkout.
ROOT = Path(__file__).resolve().parents[1]
COMMANDS = {
    "train": "tools/train_net.py",
    "eval": "tools/train_net.py --eval-only",
    "predict": "tools/demo.py",
    "page": "tools/web_demo.py",
    "check": "tools/check_dataset.py",
    "export": "tools/export.py",
    "export-weights": "tools/export_weights.py",
    "evaluate-predictions": "tools/evaluate_predictions.py",
    "draw-data": "tools/visualize_data.py",
    "draw-predictions": "tools/visualize_predictions.py",
    "overfit": "tools/overfit.py",
    "analyze": "tools/analyze_model.py",
    "reproduce": "tools/reproduce.py",
    "gain": "tools/gain.py",
    "shards": "tools/make_shards.py",
    "rooms": "datasets/make_rooms.py",
    "nyuv2": "datasets/prepare_nyuv2.py",
    "nyud-mt": "datasets/prepare_nyud_mt.py",
    "pascal": "datasets/prepare_pascal.py",
    "cityscapes": "datasets/prepare_cityscapes.py",
    "sunrgbd": "datasets/prepare_sunrgbd.py",
    "hypersim": "datasets/prepare_hypersim.py",
}


def main() -> None:
    """Run the program of a command, which gets all further words."""
    name, *words = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(overview())
        return
    if name not in COMMANDS:
        sys.exit(f"rock-d2: there is no command {name!r}; there are: {', '.join(COMMANDS)}")
    file, *first = COMMANDS[name].split()
    script = ROOT / file
    # As Python runs a script, except for the name in its usage and errors, which runpy would set.
    sys.path.insert(0, str(script.parent))
    sys.argv = [f"rock-d2 {name}", *first, *words]
    program = sys.modules["__main__"] = ModuleType("__main__")
    program.__file__ = str(script)
    exec(compile(script.read_bytes(), script, "exec"), vars(program))


def overview() -> str:
    """Return the usage, with the first line of each program's description."""
    lines = ["usage: rock-d2 COMMAND ...", ""]
    for name, command in COMMANDS.items():
        file, *options = command.split()
        first = ast.get_docstring(ast.parse((ROOT / file).read_text())).splitlines()[0]
        lines.append(f"  {name:22}{first} {' '.join(options)}")
    return "\n".join([*lines, "", "rock-d2 COMMAND --help explains a command's arguments."])


if __name__ == "__main__":
    main()
