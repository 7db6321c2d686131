"""Files of others are data: nothing in them runs, and none takes more memory than it has."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from export_weights import main as export_weights
from gadgets import CONTAINERS, gadgets

from rock_d2.checkpoint.loading import load_arrays, read_weights

NAMES = list(gadgets(Path("trace")))


@pytest.mark.parametrize("name", NAMES)
def test_gadgets_are_real(name, tmp_path):
    pickle.loads(gadgets(tmp_path / "trace")[name])
    assert (tmp_path / "trace").exists()


# PyTorch says so before it finds what else is wrong.
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("write", CONTAINERS)
@pytest.mark.parametrize("name", NAMES)
def test_code_in_a_file_is_refused_and_not_run(name, write, tmp_path):
    file = write(gadgets(tmp_path / "trace")[name], tmp_path)
    with pytest.raises(ValueError, match=rf"{file.name}: damaged, or more than tensors") as caught:
        read_weights(file)
    assert not (tmp_path / "trace").exists()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 270 + len(str(file))


@pytest.mark.parametrize("suffix", [".pkl", ".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"<html>404: Not Found</html>", b"\x80\x02X\x05\x00"])
def test_damaged_file_is_named(content, suffix, tmp_path):
    file = tmp_path / f"weights{suffix}"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"weights{suffix}: damaged"):
        read_weights(file)


def forged_type() -> bytes:
    """Return a float32 array whose flags make NumPy take its numbers for addresses."""
    honest = pickle.dumps(np.ones(2, np.float32), protocol=2)
    # (version, order, no structure, alignment, flags): None None None, -1, -1, 0.
    old = b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
    assert honest.count(old) == 1
    return honest.replace(old, b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ft")


def test_forged_type_of_an_array_is_ignored():
    array = load_arrays(forged_type())
    assert not array.dtype.hasobject
    assert array.tolist() == [1, 1]


def too_large_array() -> bytes:
    content = pickle.dumps(np.ones((3, 2), np.float32), protocol=2)
    return content.replace(b"K\x03K\x02\x86", b"J\xff\xff\xff\x7fK\x02\x86")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(np.array([[1], "two"], dtype=object), protocol=2), "else than numbers"),
        (pickle.dumps(np.zeros(2, dtype="U3"), protocol=2), "else than numbers"),
        (pickle.dumps(np.zeros(2, dtype=[("a", "f4")]), protocol=2), "else than numbers"),
        (pickle.dumps(np.arange(4, dtype=">i4"), protocol=2), "big-endian"),
        (too_large_array(), "buffer size"),
        # The result is stored as object 2,147,483,647, for which the unpickler makes room.
        (b"\x80\x02]r\xff\xff\xff\x7f.", "it numbers an object"),
        (b"\x80\x02U\x02idQ.", "persistent"),
    ],
    ids=["objects", "text", "structure", "byte order", "size", "memo", "persistent"],
)
def test_arrays_of_anything_but_numbers_are_refused(content, message, tmp_path):
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(ValueError, match=f"a.pkl: damaged, or more than .*{message}"):
        read_weights(tmp_path / "a.pkl")


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_all_protocols_come_as_they_were(protocol, tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "rows": rng.random((2, 3), dtype=np.float32),
        "columns": np.asfortranarray(rng.random((4, 3))),
        "bytes": rng.integers(0, 255, (5,), dtype=np.uint8),
        "none": np.zeros((0, 3), np.float16),
        "flag": np.array(True),
    }
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"blobs": arrays}, protocol=protocol))
    found = read_weights(tmp_path / "a.pkl")["model"]
    for name, array in arrays.items():
        assert np.array_equal(found[name], array)
        assert found[name].numpy().dtype == array.dtype


def test_nested_lists_are_visited_once(tmp_path):
    nested: list = []
    for _ in range(60):
        nested = [nested, nested]
    content = {"model": {"a": np.ones(2, np.float32)}, "bomb": nested}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
    assert read_weights(tmp_path / "a.pkl")["model"]["a"].tolist() == [1, 1]


def test_compressed_zeros_are_refused(tmp_path):
    torch.save({"a": torch.zeros(1 << 20)}, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth") as plain:
        entries = {name: plain.read(name) for name in plain.namelist()}
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb:
        for name, content in entries.items():
            bomb.writestr(name, content)
    with pytest.raises(
        ValueError, match=r"bomb\.pth: .* entries are \d+ bytes, more than the file"
    ):
        read_weights(tmp_path / "bomb.pth")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.eye(3).to_sparse(),
        torch.zeros(1).expand(1 << 40),
        torch.zeros(2, dtype=torch.complex64),
        torch.zeros(2, device="meta"),
    ],
    ids=["sparse", "expanded", "complex", "meta"],
)
def test_tensors_that_are_no_plain_numbers_are_refused(tensor, tmp_path):
    torch.save({"model": {"a": tensor}}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="`a` is sparse, quantized, complex or repeats"):
        read_weights(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [([1], "holds a list"), ({"model": [1]}, "`model` holds no"), ({"a": "b"}, "`a` is a str")],
)
def test_other_content_is_named(content, message, tmp_path):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=f"a.pth: {message}"):
        read_weights(tmp_path / "a.pth")


def test_exported_safetensors_are_the_checkpoint(tmp_path, capsys):
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
    with pytest.raises(SystemExit):
        export_weights([str(tmp_path / "nowhere.pth"), str(output)])
