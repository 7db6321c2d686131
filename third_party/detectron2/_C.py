"""Stands where Detectron2's compiled extension would be, in a wheel built without the C++ sources.

Everything that the Python files of v0.6 look up in `_C` is here, so that every module imports;
calling an operator raises an error that names it.
"""

import torch

_OPERATORS = (
    "COCOevalAccumulate",
    "COCOevalEvaluateImages",
    "InstanceAnnotation",
    "box_iou_rotated",
    "deform_conv_backward_filter",
    "deform_conv_backward_input",
    "deform_conv_forward",
    "modulated_deform_conv_backward",
    "modulated_deform_conv_forward",
    "roi_align_rotated_backward",
    "roi_align_rotated_forward",
)


def _missing(name):
    def operator(*args, **kwargs):
        raise RuntimeError(
            f"Detectron2's operator '{name}' is not available: this Detectron2 0.6 was installed "
            "without its compiled C++/CUDA operators, which rotated boxes and deformable "
            "convolutions need. Install Detectron2 from its GitHub repository to use them."
        )

    return operator


globals().update({name: _missing(name) for name in _OPERATORS})

# Called as torch.ops.detectron2.nms_rotated; the library object must live as long as the module.
_LIBRARY = torch.library.Library("detectron2", "DEF")
_LIBRARY.define("nms_rotated(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
_LIBRARY.impl("nms_rotated", _missing("nms_rotated"), "CompositeExplicitAutograd")


def get_compiler_version() -> str:
    return "none, installed without compiled operators"


def get_cuda_version() -> str:
    return "none, installed without compiled operators"


def has_cuda() -> bool:
    return False
