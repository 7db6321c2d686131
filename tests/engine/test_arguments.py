"""Command lines: Detectron2's arguments for a training, and imports that wait for their use."""

import subprocess
import sys

from command_line import ROOT, SLOW
from detectron2.engine import default_argument_parser

from rock_d2.engine.arguments import training_parser


def test_a_training_has_detectron2s_arguments_and_one_of_its_own():
    def facts(parser):
        return [
            (type(a), a.option_strings, a.dest, a.nargs, a.const, a.default, a.type, a.required)
            for a in parser._actions
        ]

    ours = facts(training_parser(""))
    own = [fact for fact in ours if fact[2] == "resume_anyway"]
    assert len(own) == 1
    ours.remove(own[0])
    assert ours == facts(default_argument_parser())


def imported_by(*command: str) -> set[str]:
    """Packages that a Python command imports."""
    options = [sys.executable, "-X", "importtime"]
    done = subprocess.run([*options, *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rsplit("|", 1)[1].strip().split(".")[0] for line in lines}


def test_importing_the_package_is_quick_and_its_names_are_there_when_used():
    found = imported_by("-c", "import rock_d2")
    assert "rock_d2" in found and not found & SLOW
    first_use = (
        "from rock_d2 import add_rock_config\n"
        "from detectron2.data import DatasetCatalog\n"
        "from detectron2.modeling import META_ARCH_REGISTRY\n"
        "import rock_d2\n"
        "assert 'rooms_train' in DatasetCatalog.list() and 'SSD' in META_ARCH_REGISTRY\n"
        "for name in rock_d2.__all__: getattr(rock_d2, name)\n"
        "import sys\n"
        "from rock_d2.engine import trainer\n"
        "late = {'matplotlib', 'scipy', 'sympy', 'torch._dynamo', 'torch._inductor'}\n"
        "assert not late & sys.modules.keys(), late & sys.modules.keys()\n"
        # What torchvision asks is answered nevertheless.
        "ask = sys.modules['torchvision.ops.roi_align'].is_compile_supported\n"
        "from torch._dynamo.utils import is_compile_supported\n"
        "assert ask is not is_compile_supported and ask('cpu') == is_compile_supported('cpu')\n"
        "try: rock_d2.nonsense\n"
        "except AttributeError: print('all')\n"
    )
    done = subprocess.run([sys.executable, "-c", first_use], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("all\n", "")


def test_the_environment_is_reported_without_noise():
    """Where there is no GPU and a CUDA folder, PyTorch says so on import."""
    code = (
        "import rock_d2\n"
        "from detectron2.utils.collect_env import collect_env_info\n"
        "import logging; logging.getLogger('torch.utils.cpp_extension').warning(\n"
        "    'No CUDA runtime is found, using CUDA_HOME=%r', '/x')\n"
        "logging.getLogger('torch.utils.cpp_extension').warning('something else')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == 1 and "something else" in done.stderr
