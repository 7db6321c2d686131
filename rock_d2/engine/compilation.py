"""The network compiled by torch.compile."""

from torch import nn

MODES = ("", "default", "reduce-overhead")


def compile_network(model: nn.Module, mode: str) -> None:
    """Compile backbone, neck and head each, at their first batch.

    The rest of a detector has other shapes for every image. The names of the weights stay.

    Args:
        model: a MultiTask, or any meta-architecture with a backbone.
        mode: of torch.compile; "" compiles nothing.
    """
    if mode not in MODES:
        raise ValueError(f"SOLVER.COMPILE is {mode!r}; it must be one of {MODES}")
    if not mode:
        return
    detector = getattr(model, "detector", model)
    parts = (model.backbone, getattr(model, "neck", None), getattr(detector, "head", None))
    for part in parts:
        if part is not None:
            part.compile(mode=mode)
