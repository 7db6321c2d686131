"""Files of others are data: whatever they ask for, nothing of it runs."""

import copyreg
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import run, run_warm
from gadgets import CONTAINERS, EXTENSION, extension_gadget, gadgets
from safetensors import safe_open

from rock_d2 import model_zoo
from rock_d2.config import load_config
from rock_d2.checkpoint.downloads import check_hash, local_file
from rock_d2.checkpoint.safe_pickle import load_arrays
from rock_d2.checkpoint.loading import read_checkpoint

NAMES = list(gadgets(Path("trace")))


@pytest.mark.parametrize("name", NAMES)
def test_gadgets_are_real(name, tmp_path):
    pickle.loads(gadgets(tmp_path / "trace")[name])
    assert (tmp_path / "trace").exists()


# PyTorch says so of all but the second, before it finds what else is wrong.
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("write", CONTAINERS)
@pytest.mark.parametrize("name", NAMES)
def test_code_in_a_file_is_refused_and_not_run(name, write, tmp_path):
    file = write(gadgets(tmp_path / "trace")[name], tmp_path)
    with pytest.raises(ValueError, match=rf"{file.name}: damaged, or more than tensors") as caught:
        read_checkpoint(str(file))
    assert not (tmp_path / "trace").exists()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 260 + len(str(file))


@pytest.fixture
def _extension():
    copyreg.add_extension(*EXTENSION)
    yield
    copyreg.remove_extension(*EXTENSION)


@pytest.mark.usefixtures("_extension")
def test_extension_codes_are_refused_also_if_they_have_been_used(tmp_path):
    trace = tmp_path / "trace"
    content = extension_gadget(trace)
    pickle.loads(content)
    trace.unlink()
    (tmp_path / "weights.pkl").write_bytes(content)
    with pytest.raises(ValueError, match=r"weights\.pkl: .* asks for extension 250"):
        read_checkpoint(str(tmp_path / "weights.pkl"))
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"Pid\n.", b"\x80\x02U\x02idQ."])
def test_persistent_objects_are_refused(content):
    with pytest.raises(pickle.UnpicklingError, match="persistent"):
        load_arrays(content)


def test_pickle_that_ends_within_a_number_is_damaged(tmp_path):
    file = tmp_path / "cut.pkl"
    file.write_bytes(b"\x80\x02X\x05\x00")
    with pytest.raises(ValueError, match=r"cut.pkl: damaged"):
        read_checkpoint(str(file))


def object_array() -> np.ndarray:
    return np.array([[1], "two"], dtype=object)


def forged_type() -> bytes:
    """A float32 whose flags tell NumPy to treat its numbers as addresses of objects."""
    honest = pickle.dumps(np.ones(2, np.float32), protocol=2)
    # (version, order, no structure, alignment, flags): None None None, -1, -1, 0.
    old = b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
    assert honest.count(old) == 1
    return honest.replace(old, b"}}NJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ft")


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(object_array(), protocol=2),
        pickle.dumps(np.zeros(2, dtype="U3"), protocol=2),
        pickle.dumps(np.zeros(2, dtype=[("a", "f4")]), protocol=2),
        forged_type(),
    ],
    ids=["objects", "text", "structure", "forged"],
)
def test_arrays_of_anything_but_numbers_are_refused(content):
    with pytest.raises(pickle.UnpicklingError, match="something else than numbers"):
        load_arrays(content)


def test_array_larger_than_its_content_is_refused():
    content = pickle.dumps(np.ones((3, 2), np.float32), protocol=2)
    with pytest.raises(pickle.UnpicklingError, match="24 bytes for an array of"):
        load_arrays(content.replace(b"K\x03K\x02\x86", b"J\xff\xff\xff\x7fK\x02\x86"))


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_all_protocols_come_as_they_were(protocol):
    rng = np.random.default_rng(0)
    arrays = [
        rng.random((2, 3), dtype=np.float32),
        np.asfortranarray(rng.random((4, 3))),
        rng.integers(0, 255, (5,), dtype=np.uint8),
        np.arange(4, dtype=">i4"),
        np.zeros((0, 3), np.float16),
        np.array(True),
    ]
    found = load_arrays(pickle.dumps({"arrays": arrays, "lr": np.float64(0.1)}, protocol=protocol))
    for array, stored in zip(arrays, found["arrays"], strict=True):
        assert np.array_equal(stored.value, array)
        assert stored.value.dtype == array.dtype.newbyteorder("=")
        torch.from_numpy(stored.value)
    assert found["lr"] == 0.1


def test_arrays_in_pytorchs_files_come_as_they_were(tmp_path):
    weight = np.random.default_rng(0).random((2, 3), dtype=np.float32)
    torch.save({"state_dict": {"weight": weight}, "lr": np.float32(2)}, tmp_path / "a.pth")
    found = read_checkpoint(str(tmp_path / "a.pth"))
    assert np.array_equal(found["model"]["weight"], weight)
    assert found["lr"] == 2


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch {}']",
        "MODEL: !!python/object/apply:os.system ['touch {}']",
        "MODEL: !!python/object/new:io.FileIO ['{}', 'w']",
        "_BASE_: base.yaml",
    ],
)
def test_code_in_a_config_is_refused_and_not_run(text, tmp_path):
    trace, file = tmp_path / "trace", tmp_path / "config.yaml"
    file.write_text(text.format(trace))
    tagged = f"OUTPUT_DIR: !!python/object/apply:os.system ['touch {trace}']"
    (tmp_path / "base.yaml").write_text(tagged)
    with pytest.raises(ValueError, match=r"(config|base)\.yaml: is no YAML of plain values"):
        load_config(file)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("_BASE_: config.yaml", "is its own _BASE_"),
        ("a: &a [*a]", "more than 100000 values"),
        ("\n".join(f"a{i}: &a{i} {{x: *a{i - 1}, y: *a{i - 1}}}" for i in range(1, 60)), "no YAML"),
        ("MODEL: {1: 2}", "1 is no setting's name"),
        ("- 1", "holds list, not settings"),
        ("NO_SUCH: 1", "Non-existent config key: NO_SUCH"),
        ("MODEL: {SSD: 3}", "MODEL.SSD must hold settings by name"),
        ("_BASE_: nowhere.yaml", "nowhere.yaml: there is no such config file"),
    ],
    ids=["base", "recursive", "alias", "number", "list", "unknown", "flat", "missing"],
)
def test_what_is_no_config_is_named(text, message, tmp_path):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises((ValueError, OSError), match=message):
        load_config(tmp_path / "config.yaml")


def test_aliases_that_stand_for_too_much_are_refused(tmp_path):
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{i}: &a{i} {{x: *a{i - 1}, y: *a{i - 1}}}" for i in range(1, 40)]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"bomb.yaml: its aliases stand for more than 100000"):
        load_config(tmp_path / "bomb.yaml")


def test_model_zoo_reads_configs_safely(tmp_path, monkeypatch):
    monkeypatch.setattr(model_zoo, "CONFIGS", tmp_path)
    tagged = f"OUTPUT_DIR: !!python/object/apply:os.system ['touch {tmp_path / 'trace'}']"
    (tmp_path / "a.yaml").write_text(tagged)
    with pytest.raises(ValueError, match=r"a\.yaml: is no YAML of plain values"):
        model_zoo.get_config("a.yaml")
    assert not (tmp_path / "trace").exists()


# MD5 and SHA-256 of b"weights".
MD5, SHA256 = "63f4f1", "9a129038"


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [
        ("detectron2/COCO-Detection/x/137257794/model_final_{}.pkl", "md5"),
        ("models/resnet50-{}.pth", "sha256"),
        ("models/resnet50_a1_0-{}.safetensors", "sha256"),
    ],
)
def test_downloads_are_checked_against_the_hash_in_their_name(
    name, algorithm, tmp_path, monkeypatch
):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    right, wrong = {"md5": (MD5, "0" * 6), "sha256": (SHA256, "0" * 8)}[algorithm]
    for told in (right, wrong):
        file = tmp_path / name.format(told)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"weights")
    address = "https://dl.fbaipublicfiles.com/" + name
    assert local_file(address.format(right)) == str(tmp_path / name.format(right))
    with pytest.raises(ValueError, match=f"{algorithm} begins with {right}, not {wrong}; delete"):
        local_file(address.format(wrong))


def test_detectron2s_own_addresses_are_checked_too(tmp_path):
    (tmp_path / "file").write_bytes(b"weights")
    check_hash(f"detectron2://COCO-Detection/x/1/model_final_{MD5}.pkl", tmp_path / "file")
    with pytest.raises(ValueError, match="md5 begins with"):
        check_hash("detectron2://COCO-Detection/x/1/model_final_abcdef.pkl", tmp_path / "file")


def test_exported_safetensors_are_the_checkpoint(tmp_path):
    style = {"INPUT.FORMAT": "BGR", "MODEL.PIXEL_MEAN": [1.0, 2.0, 3.0]}
    weight = torch.arange(6.0).view(2, 3)
    content = {"model": {"a": weight, "b": weight.T}, "style": style, "iteration": 3}
    torch.save(content, tmp_path / "model.pth")
    output = tmp_path / "model.safetensors"
    command = ("tools/export_weights.py", tmp_path / "model.pth", output)
    done = run(*command, root=tmp_path)
    assert done.returncode == 0, done.stderr
    found = read_checkpoint(str(output))
    assert found["style"] == style
    assert found.keys() == {"model", "style"}
    assert torch.equal(found["model"]["a"], weight)
    assert torch.equal(found["model"]["b"], weight.T)
    with safe_open(output, "pt") as file:
        assert json.loads(file.metadata()["style"]) == style
    done = run_warm("tools/export_weights.py", tmp_path / "nowhere.pth", output, root=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "export_weights: " in done.stderr and "nowhere.pth: is no file" in done.stderr
