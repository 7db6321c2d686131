"""Damaged input is taken or refused with one clear line; more of it: tools/fuzz.py."""

import os
import time

import numpy as np
import pytest

from fuzz.fuzzing import FAULTS, REFUSED, TAKEN, TARGETS, fuzz, judge, run_case, summary
from fuzz.mutations import changed_bytes, changed_lines, changed_tree
from fuzz.target import Target

CASES = 20


@pytest.mark.parametrize("name", TARGETS)
def test_no_damage_ends_in_a_fault(name, tmp_path):
    target = TARGETS[name](tmp_path)
    cases = [run_case(target, name, number, seed=0) for number in range(CASES)]
    assert [case for case in cases if case.outcome in FAULTS] == []
    assert [case.outcome for case in cases].count(REFUSED) >= CASES // 5


class Odd(Target):
    """Fails as its number says."""

    def change(self, rng: np.random.Generator) -> str:
        # The generators of the cases; a second process begins with a later one.
        kind, draw = list(TARGETS).index("odd"), rng.random()
        self.number = next(
            i for i in range(8) if np.random.default_rng((0, kind, i)).random() == draw
        )
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
                time.sleep(60)
            case 6:
                os._exit(9)


def test_every_kind_of_fault_is_reported(monkeypatch):
    monkeypatch.setitem(TARGETS, "odd", Odd)
    cases = list(fuzz("odd", first=0, count=8, seed=0, limit=2))
    expected = [TAKEN, REFUSED, "raw error", "unclear error", "changed a file", "hung", "died"]
    assert [case.outcome for case in cases] == [*expected, TAKEN]
    assert [case.number for case in cases] == list(range(8))
    assert "KeyError: 'input'" in cases[2].text
    assert cases[6].text == "exit code 9"
    row = summary(cases)[0]
    assert (row["cases"], row[TAKEN], row["died"]) == (8, 2, 1)


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
