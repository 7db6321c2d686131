"""Keeps two lines off every command's output that tell its user nothing."""

import logging
import warnings


def silence() -> None:
    # fvcore, which Detectron2 imports, scripts two losses that nobody here uses.
    warnings.filterwarnings(
        "ignore",
        message=r"`torch\.jit\.script` is deprecated",
        category=FutureWarning,
        module=r"torch\.jit\._script",
    )
    # Detectron2's report on the environment imports PyTorch's compiler driver, which says this on
    # any machine that has no GPU; the report itself tells about CUDA.
    logging.getLogger("torch.utils.cpp_extension").addFilter(is_not_about_missing_cuda)


def is_not_about_missing_cuda(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("No CUDA runtime is found")
