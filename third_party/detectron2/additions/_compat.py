"""Lets Detectron2 v0.6 run on today's Pillow, NumPy, setuptools and PyTorch.

`detectron2/__init__.py` imports this module before anything else, hence any order of imports works.
A name that exists is never replaced. Stand-ins for packages that are gone (`pkg_resources`,
`caffe2`) are visible only while the one Detectron2 module that asks for them is being imported,
so that no other library mistakes them for the real thing.
"""

import contextlib
import importlib
import importlib.util
import logging
import sys
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

_CAFFE2 = (
    "caffe2",
    "caffe2.proto",
    "caffe2.proto.caffe2_pb2",
    "caffe2.python",
    "caffe2.python.core",
    "caffe2.python.net_drawer",
    "caffe2.python.utils",
    "caffe2.python.workspace",
)
_CAFFE2_IS_GONE = (
    "{} is not available: PyTorch no longer contains Caffe2, so Detectron2 v0.6 cannot export to "
    "Caffe2 or ONNX. Use detectron2.export.TracingAdapter with torch.jit.trace, or "
    "detectron2.export.scripting_with_instances."
)


def add_missing_names() -> None:
    # Removed in NumPy 1.24 (bool came back in 2.0) and Pillow 10.
    for module, name, value in (
        (np, "bool", bool),
        (np, "int", int),
        (np, "float", float),
        (np, "str", str),
        (Image, "LINEAR", Image.BILINEAR),
    ):
        if name not in vars(module):  # hasattr(np, "str") would print a warning
            setattr(module, name, value)


def _pkg_resources():
    """The one function of pkg_resources, dropped by setuptools 82, that the model zoo calls."""

    def resource_filename(package: str, resource: str) -> str:
        return str(Path(importlib.import_module(package).__file__).parent / resource)

    module = ModuleType("pkg_resources")
    module.resource_filename = resource_filename
    return {"pkg_resources": module}


def _caffe2():
    """Caffe2's modules; each name in them is a class, which annotations need, that refuses use."""

    class Refusing(ModuleType):
        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            full_name = f"{self.__name__}.{name}"

            def refuse(*args, **kwargs):
                raise RuntimeError(_CAFFE2_IS_GONE.format(full_name))

            return type(name, (), {"__new__": refuse})

    modules = {name: Refusing(name) for name in _CAFFE2}
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    return modules


@contextlib.contextmanager
def _visible(package, make_modules):
    """Let `package` be found in the body, unless a real one is installed."""
    if package in sys.modules or importlib.util.find_spec(package) is not None:
        yield
        return
    modules = make_modules()
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            sys.modules.pop(name, None)


class _PkgResourcesLoader(SourceFileLoader):
    def exec_module(self, module):
        # Loads all that this module imports, so that nothing but itself meets the stand-in.
        importlib.import_module("detectron2.modeling")
        with _visible("pkg_resources", _pkg_resources):
            super().exec_module(module)


class _Caffe2Loader(SourceFileLoader):
    """For the first module that `detectron2.export` imports; it imports the others."""

    def exec_module(self, module):
        importlib.import_module("detectron2.modeling")
        with _visible("caffe2", _caffe2):
            super().exec_module(module)


class _Caffe2ExportLoader(SourceFileLoader):
    """Detectron2 imports this module when an export is asked for: the place to refuse it."""

    def exec_module(self, module):
        if importlib.util.find_spec("caffe2") is None:
            raise RuntimeError(_CAFFE2_IS_GONE.format("caffe2"))
        super().exec_module(module)


class _FastEvalLoader(SourceFileLoader):
    """COCOEvaluator asks for the C++ copy of COCOeval by default: give it the original."""

    def exec_module(self, module):
        super().exec_module(module)
        from pycocotools.cocoeval import COCOeval

        class COCOeval_opt(COCOeval):
            def evaluate(self):
                logging.getLogger(module.__name__).info(
                    "No compiled COCOeval in this Detectron2: using the one of pycocotools."
                )
                return super().evaluate()

        COCOeval_opt.__module__ = module.__name__
        module.COCOeval_opt = COCOeval_opt


_LOADERS = {
    "detectron2.evaluation.fast_eval_api": _FastEvalLoader,
    "detectron2.export.api": _Caffe2Loader,
    "detectron2.export.caffe2_export": _Caffe2ExportLoader,
    "detectron2.model_zoo.model_zoo": _PkgResourcesLoader,
}


class _Finder:
    """Gives the few modules of Detectron2 that need help their loader."""

    @staticmethod
    def find_spec(fullname, path=None, target=None):
        loader = _LOADERS.get(fullname)
        if loader is None:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None:
            spec.loader = loader(fullname, spec.origin)
        return spec


add_missing_names()
sys.meta_path.insert(0, _Finder)
