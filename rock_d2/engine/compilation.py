"""The network compiled by torch.compile, where there is a compiler."""

import logging

import torch
from torch import nn

logger = logging.getLogger(__name__)


def compile_network(model: nn.Module) -> None:
    """Lets an SSD's network be compiled at its first batch; without a compiler it only says so.

    Backbone, neck and head each, since what follows has other shapes for every image. The names of
    the weights stay as they are.
    """
    problem = compiler_problem(model.device)
    if problem:
        logger.warning(f"Nothing is compiled, as torch.compile does not work here: {problem}")
        return
    for part in (model.backbone, model.neck, model.head):
        part.compile()


def compiler_problem(device: torch.device) -> str:
    """Why torch.compile cannot work on a device, in one line; "" if it can. A trial tells."""
    try:
        torch.compile(torch.exp)(torch.zeros(2, device=device))
    except RuntimeError as problem:
        return str(problem).strip().partition("\n")[0]
    return ""
