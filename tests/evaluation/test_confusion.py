"""The confusion matrix, by hand."""

import numpy as np
from coco_sets import SQUARE, coco_set

from rock_d2.evaluation.confusion import confusion_matrix

FAR = (300, 300, 50, 50)


def test_by_hand():
    truth, found = coco_set(
        # Image 1: an a and a b; image 2: a c; image 3: a crowd of a.
        [(1, 1, SQUARE), (1, 2, FAR), (2, 3, SQUARE), (3, 1, SQUARE)],
        [
            # a is found; a second box of it is one of nothing.
            (1, 1, SQUARE, 0.9),
            (1, 1, (0, 0, 90, 100), 0.8),
            # b is taken for c, and with too low a score for b.
            (1, 3, FAR, 0.7),
            (1, 2, FAR, 0.4),
            # An IoU of 0.4 misses c.
            (2, 3, (0, 0, 40, 100), 0.9),
        ],
        crowds=(3,),
    )
    wanted = [[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 1, 0]]
    np.testing.assert_array_equal(confusion_matrix(truth, found), wanted)
