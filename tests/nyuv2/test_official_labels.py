import numpy as np
import pytest
from roomgen.nyuv2_labels import label_gaps, labels_and_instances, stray_object
from synthetic_scene import OBJECTS, altered_frame, synthetic_frame


def test_stray_is_the_last_small_thing_outside_the_19_classes():
    assert OBJECTS[stray_object(synthetic_frame()) - 1] == "vase"
    assert stray_object(synthetic_frame()) == 7


def test_gaps_are_two_pixels_wide_and_run_along_the_border():
    instances = np.ones((40, 40), dtype=np.uint16)
    instances[25:, 20:] = 2
    gaps = label_gaps(instances)
    # Rows 0-5 and the last 6, columns 0-6 and the last 8 are border; 19 | 20 and 24 / 25 are edges.
    assert np.flatnonzero(gaps[30]).tolist() == [*range(7), 19, 20, *range(32, 40)]
    assert np.flatnonzero(gaps[:, 25]).tolist() == [*range(6), 24, 25, *range(34, 40)]
    assert np.flatnonzero(gaps[:, 10]).tolist() == [*range(6), *range(34, 40)]


def test_unknown_names_and_too_many_instances_are_refused():
    thing = synthetic_frame().objects[2]
    unknown = altered_frame(
        objects=(*synthetic_frame().objects[:2], type(thing)("sofabed", 1)) + (thing,) * 5
    )
    with pytest.raises(ValueError, match="kitchen_0004: 'sofabed' is not a name"):
        labels_and_instances(unknown)
    many = np.repeat(np.repeat(np.arange(1, 65, dtype=np.uint16).reshape(8, 8), 60, 0), 80, 1)
    with pytest.raises(ValueError, match="more than 63 of 'chair'"):
        labels_and_instances(altered_frame(instances=many, objects=(thing,) * 64))
