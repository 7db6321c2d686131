"""Building blocks without knowledge of tasks, networks or data."""

from rock_d2.layers.conv import check_norm, conv_norm_relu
from rock_d2.layers.init import own_seed
from rock_d2.layers.normalizers import (
    known_mean,
    max_over_processes,
    mean_over_processes,
    share_over_processes,
)
from rock_d2.layers.pooling import (
    Extents,
    block_average,
    block_repeat,
    cut,
    global_average,
    known_average,
    resize,
)
