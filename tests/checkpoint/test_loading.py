"""Files of others are data: nothing in them runs, and none takes more memory than it has."""

import os
import pickle

import numpy as np
import pytest
import torch
from export_weights import main as export_weights

from rock_d2.checkpoint.loading import read_weights


class Touch:
    """Pickled, it is a call that creates a file."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch {self.trace}",)


def gadgets(trace):
    """Return pickles that create ``trace``, by the known way to run code."""
    build = (
        f"ctypes\nSimpleNamespace\n)\x81}}S'__setstate__'\ncposix\nsystem\nsbS'touch {trace}'\nb."
    )
    dotted = f"\x80\x04\x8c\x02os\x8c\x0epath.os.system\x93(S'touch {trace}'\ntR."
    return {
        "call": pickle.dumps(Touch(trace)),
        "BUILD": build.encode("latin1"),
        "dotted name": dotted.encode("latin1"),
    }


@pytest.mark.parametrize("name", gadgets(""))
def test_code_in_a_pickle_is_refused_and_not_run(name, tmp_path):
    trace, file = tmp_path / "trace", tmp_path / "weights.pkl"
    file.write_bytes(gadgets(trace)[name])
    with pytest.raises(ValueError, match=r"weights\.pkl: damaged, or more than tensors") as caught:
        read_weights(file)
    assert not trace.exists() and "\n" not in str(caught.value)
    # Each of them is real.
    pickle.loads(file.read_bytes())
    assert trace.exists()


@pytest.mark.parametrize("suffix", [".pkl", ".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"<html>404: Not Found</html>", b"PK\x80\x02X\x05\x00"])
def test_damaged_file_is_named(content, suffix, tmp_path):
    file = tmp_path / f"weights{suffix}"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"weights{suffix}: damaged"):
        read_weights(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(np.array([[1], "two"], dtype=object), protocol=2), "else than numbers"),
        (pickle.dumps(np.arange(4, dtype=">i4"), protocol=2), "big-endian"),
    ],
    ids=["objects", "byte order"],
)
def test_arrays_of_anything_but_numbers_are_refused(content, message, tmp_path):
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(ValueError, match=f"a.pkl: damaged, or more than .*{message}"):
        read_weights(tmp_path / "a.pkl")


@pytest.mark.parametrize("protocol", [2, 5])
def test_arrays_of_all_protocols_come_as_they_were(protocol, tmp_path):
    nested: list = []
    for _ in range(60):  # Each list is visited once, not 2 ** 60 times.
        nested = [nested, nested]
    arrays = {
        "columns": np.asfortranarray(np.random.default_rng(0).random((4, 3))),
        "bytes": np.arange(5, dtype=np.uint8),
        "none": np.zeros((0, 3), np.float16),
    }
    content = {"blobs": arrays, "nested": nested}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    found = read_weights(tmp_path / "a.pkl")["model"]
    for name, array in arrays.items():
        assert np.array_equal(found[name], array)
        assert found[name].numpy().dtype == array.dtype


@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {"a": torch.eye(3).to_sparse()}}, "`a` is sparse, quantized, complex or"),
        ({"model": {"a": torch.zeros(1).expand(1 << 40)}}, "or repeats its memory"),
        ({"model": {"a": torch.tensor([1, torch.nan])}}, "`a` has values that are NaN"),
        # Infinite as fp32.
        ({"a": torch.tensor([1e39], dtype=torch.float64)}, "`a` has values that are NaN or inf"),
        ({"model": [1]}, "`model` holds no"),
        ({"a": "b"}, "`a` is a str"),
    ],
)
def test_all_but_plain_numbers_by_name_is_refused(content, message, tmp_path):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=f"a.pth: .*{message}"):
        read_weights(tmp_path / "a.pth")


def test_exported_safetensors_are_the_checkpoint(tmp_path):
    style = {"INPUT.FORMAT": "BGR", "MODEL.PIXEL_MEAN": [1.0, 2.0, 3.0]}
    weight = torch.arange(6.0).view(2, 3)
    content = {"model": {"a": weight, "b": weight.T}, "style": style, "iteration": 3}
    torch.save(content, tmp_path / "model.pth")
    output = tmp_path / "model.safetensors"
    export_weights([str(tmp_path / "model.pth"), str(output)])
    found = read_weights(output)
    assert found.keys() == {"model", "style"}
    assert found["style"] == style
    assert torch.equal(found["model"]["a"], weight)
    assert torch.equal(found["model"]["b"], weight.T)
    # With the names of classes, in 16 bits.
    classes = {"thing_classes": ["bed", "sofa"], "scene_classes": ["office"]}
    torch.save(content | {"classes": classes}, tmp_path / "model.pth")
    export_weights([str(tmp_path / "model.pth"), str(output), "--half"])
    found = read_weights(output)
    assert found["model"]["b"].dtype == torch.float16
    assert torch.equal(found["model"]["b"], weight.T.half())
    assert found["classes"] == classes
