"""Damaged input is taken or refused with one clear line; more of it: tools/fuzz.py."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from rock_d2.image_files import read_color_image
from fuzz import fuzzing
from fuzz.fuzzing import FAULTS, REFUSED, TAKEN, fuzz, judge, run_case, summary
from fuzz.mutations import changed_bytes, changed_lines, changed_tree
from fuzz.target import Target
from fuzz.targets import build_target, target_names

CASES = 20


@pytest.mark.parametrize("name", target_names())
def test_no_damage_ends_in_a_fault(name, tmp_path):
    target, kind = build_target(name, tmp_path), target_names().index(name)
    cases = [
        run_case(target, name, number, np.random.default_rng((0, kind, number)))
        for number in range(CASES)
    ]
    assert [case for case in cases if case.outcome in FAULTS] == []
    outcomes = [case.outcome for case in cases]
    assert outcomes.count(REFUSED) >= CASES // 4
    assert all(case.change for case in cases)


class Odd(Target):
    """Does what its number says."""

    name = "odd"

    def change(self, rng: np.random.Generator) -> str:
        self.number = getattr(self, "number", -1) + 1
        (self.folder / "input").write_text("input")
        return str(self.number)

    def use(self) -> None:
        match self.number:
            case 1:
                raise ValueError(f"{self.folder}/input: is wrong")
            case 2:
                raise KeyError("input")
            case 3:
                raise ValueError("something is wrong")
            case 4:
                (self.folder / "input").write_text("changed")
            case 5:
                os._exit(9)


def test_every_kind_of_fault_is_told(monkeypatch):
    monkeypatch.setattr(fuzzing, "build_target", lambda name, folder: Odd(folder))
    monkeypatch.setattr(fuzzing, "target_names", lambda: ["odd"])
    cases = list(fuzz("odd", first=0, count=7, seed=0, limit=5))
    expected = [TAKEN, REFUSED, "raw error", "unclear error", "changed a file", "died", TAKEN]
    assert [case.outcome for case in cases] == expected
    assert [case.number for case in cases] == list(range(7))
    assert "KeyError: 'input'" in cases[2].text
    assert cases[5].text == "exit code 9"
    row = summary(cases)[0]
    assert (row["cases"], row[TAKEN], row["died"]) == (7, 2, 1)


def test_case_that_never_ends_is_told_and_the_next_goes_on(monkeypatch):
    monkeypatch.setattr(Odd, "use", lambda self: time.sleep(60) if self.number == 1 else None)
    monkeypatch.setattr(fuzzing, "build_target", lambda name, folder: Odd(folder))
    monkeypatch.setattr(fuzzing, "target_names", lambda: ["odd"])
    cases = list(fuzz("odd", first=0, count=3, seed=0, limit=1))
    assert [case.outcome for case in cases] == [TAKEN, "hung", TAKEN]


@pytest.mark.parametrize(
    "error",
    [
        UnicodeDecodeError("utf-8", b"folder", 0, 1, "folder/a"),
        ValueError("folder/a: wrong\nmore"),
        ValueError("folder/a" * 200),
    ],
    ids=["codec", "lines", "long"],
)
def test_errors_that_help_nobody_are_faults(error):
    assert judge(error, ("folder",))[0] in FAULTS


def test_same_seed_gives_the_same_damage():
    tree = {"a": [1, {"b": "c"}], "d": {"e": [2, 3]}}
    text = "A: 1\nB:\n  C: 2\n"
    for change, original in (
        (changed_bytes, bytes(range(200))),
        (changed_tree, tree),
        (changed_lines, text),
    ):
        results = [
            [repr(change(np.random.default_rng(i), original)) for i in range(30)] for _ in range(2)
        ]
        assert results[0] == results[1]
        assert len(set(results[0])) > 15
    assert tree == {"a": [1, {"b": "c"}], "d": {"e": [2, 3]}}


def test_prediction_in_an_unknown_compression_is_refused(tmp_path: Path):
    target = build_target("predictions", tmp_path)
    # The method, in the zip's directory.
    place = target.original.index(b"PK\x01\x02") + 10
    target.file.write_bytes(target.original[:place] + b"\x63\0" + target.original[place + 2 :])
    with pytest.raises(ValueError, match=r"3.npz: damaged, or no prediction"):
        target.use()


def test_cut_images_are_refused(tmp_path: Path):
    """OpenCV gives what is missing of a JPEG as grey, and hangs with a PNG without its pixels."""
    build_target("images", tmp_path)
    for end, rest in (("png", (10, 40, 60)), ("jpg", (2, 20, 200))):
        content = (tmp_path / f"image.{end}").read_bytes()
        for missing in rest:
            (tmp_path / "cut").write_bytes(content[:-missing])
            with pytest.raises(ValueError, match="cut: is damaged: it ends before its image does"):
                read_color_image(tmp_path / "cut")
        (tmp_path / "longer").write_bytes(content + b"\0\0")
        longer, whole = (read_color_image(tmp_path / f) for f in ("longer", f"image.{end}"))
        assert np.array_equal(longer, whole)
