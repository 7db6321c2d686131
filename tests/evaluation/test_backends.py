"""Whatever computes COCO's numbers, they are pycocotools' numbers."""

import copy
import json

import numpy as np
import pytest
from coco_sets import ADVERSARIAL, random_set

from rock_d2.evaluation.backends import BACKENDS, choose_backend, coco_scores
from rock_d2.evaluation.detections import Detections

OTHERS = [name for name in BACKENDS if name != "pycocotools"]


def assert_same(backend, truth, detections):
    pytest.importorskip(backend, reason=f"{backend} is not installed: pip install -e .[fast]")
    detections = Detections.from_coco(detections)
    expected = coco_scores(truth, detections, backend="pycocotools")
    found = coco_scores(truth, detections, backend=backend)
    assert expected.stats.shape == found.stats.shape == (12,)
    np.testing.assert_allclose(found.stats, expected.stats, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.precision, expected.precision, rtol=0, atol=1e-9)


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("kind", ADVERSARIAL)
def test_same_numbers_on_adversarial_sets(backend, kind):
    assert_same(backend, *ADVERSARIAL[kind])


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("seed", range(5))
def test_same_numbers_on_random_sets(backend, seed):
    assert_same(backend, *random_set(seed))


@pytest.mark.parametrize("backend", BACKENDS)
def test_arguments_stay_as_they_are(backend):
    pytest.importorskip(backend)
    truth, found = random_set(5, num_images=2)
    detections = Detections.from_coco(found)
    before = copy.deepcopy(truth)
    coco_scores(truth, detections, backend=backend)
    assert truth == before
    assert json.loads(detections.to_json()) == found


def test_auto_takes_the_first_that_is_installed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
    assert choose_backend("auto") == "hotcoco"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "pycocotools" or None)
    assert choose_backend("auto") == "pycocotools"
    with pytest.raises(ValueError, match="hotcoco is not installed; pip install hotcoco"):
        choose_backend("hotcoco")


def test_an_unknown_backend_is_an_error():
    with pytest.raises(ValueError, match="must be auto or one of: hotcoco, pycocotools"):
        choose_backend("quickcoco")
