"""Initial weights that depend on the seed and a part's name only."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def own_seed(part: str) -> Iterator[None]:
    """Build ``part`` from random numbers of its own, which follow from the seed and its name.

    Models that differ in one part then start from equal weights in all others, so that what is
    compared is the part and not luck. Nested, the outer part's seed counts as the seed. What is
    drawn inside does not move the generator outside: two models built under one seed are equal.
    """
    generator = torch.default_generator
    words = np.random.SeedSequence([generator.initial_seed(), *part.encode()])
    with torch.random.fork_rng(devices=[]):
        # Weights are made on the CPU; torch.manual_seed would seed the GPUs too.
        generator.manual_seed(int(words.generate_state(1, np.uint64)[0]))
        yield
