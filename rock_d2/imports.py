"""Spares a start what it does not need: PyTorch's compiler, and Python's garbage collector."""

import gc
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"
# The only module of torchvision that imports the compiler, for a question which it asks only where
# algorithms must be deterministic.
ROI_ALIGN = "torchvision.ops.roi_align"
QUESTION = "is_compile_supported"


def defer_compiler() -> None:
    """From now on importing torchvision, as Detectron2 does, leaves PyTorch's compiler for later.

    With SymPy, Triton and Inductor it takes long to import.
    """
    if not any(isinstance(finder, RoiAlignFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, RoiAlignFinder())


class RoiAlignFinder(MetaPathFinder):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != ROI_ALIGN or COMPILER in sys.modules:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = RoiAlignLoader(name, spec.loader.path)
        return spec


class RoiAlignLoader(SourceFileLoader):
    """Lets the module find stand-ins where it imports the compiler."""

    def exec_module(self, module: ModuleType) -> None:
        stand_ins = {name: StandIn(name) for name in (COMPILER, f"{COMPILER}.utils")}
        setattr(stand_ins[f"{COMPILER}.utils"], QUESTION, asked_later(QUESTION))
        sys.modules.update(stand_ins)
        try:
            super().exec_module(module)
        finally:
            forget_stand_ins()


class StandIn(ModuleType):
    """A module that becomes the real one for whoever wants more of it."""

    def __getattr__(self, name: str) -> Any:
        # Python itself looks for a package's path, and for more that may be missing.
        if name.startswith("__") and (name, self.__name__) != ("__path__", COMPILER):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        forget_stand_ins()
        return getattr(importlib.import_module(self.__name__), name)


def forget_stand_ins() -> None:
    for name, module in list(sys.modules.items()):
        if type(module) is StandIn:
            del sys.modules[name]


def asked_later(name: str) -> Callable[..., Any]:
    """The compiler's function, which imports it once it is called."""

    def ask(*args: Any) -> Any:
        return getattr(importlib.import_module(f"{COMPILER}.utils"), name)(*args)

    # The compiler takes the real one's answer for a constant, too.
    ask._dynamo_marked_constant = True
    return ask


@contextmanager
def collector_resting() -> Iterator[None]:
    """Collects no garbage meanwhile, and afterwards never looks at what is there by then.

    Imports make hundreds of thousands of objects that stay, and the collector would walk through
    all of them again and again.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
