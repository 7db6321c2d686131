"""Damaged input is taken or refused with one clear line; more of it: tools/fuzz.py."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from fuzz.fuzzing import FAULTS, REFUSED, TAKEN, TARGETS, fuzz, run_case, summary
from fuzz.target import Target

CASES = 40


@pytest.mark.parametrize("name", TARGETS)
def test_no_damage_ends_in_a_fault(name, tmp_path):
    target = TARGETS[name](tmp_path)
    cases = [run_case(target, name, number, seed=1) for number in range(CASES)]
    assert [case for case in cases if case.outcome in FAULTS] == []
    assert [case.outcome for case in cases].count(REFUSED) >= CASES // 20


class Odd(Target):
    """Fails as its number says."""

    counts: Path

    def change(self, rng: np.random.Generator) -> str:
        # A second process continues to count.
        self.number = len(list(self.counts.iterdir()))
        (self.counts / str(self.number)).touch()
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
                time.sleep(60)
            case 5:
                os._exit(9)


def test_every_kind_of_fault_is_reported(monkeypatch, tmp_path):
    monkeypatch.setattr(Odd, "counts", tmp_path, raising=False)
    monkeypatch.setitem(TARGETS, "odd", Odd)
    cases = list(fuzz("odd", first=0, count=7, seed=0, limit=2))
    expected = [TAKEN, REFUSED, "raw error", "unclear error", "hung", "died"]
    assert [case.outcome for case in cases] == [*expected, TAKEN]
    assert [case.number for case in cases] == list(range(7))
    assert "KeyError: 'input'" in cases[2].text
    assert cases[5].text == "exit code 9"
    row = summary(cases)[0]
    assert (row["cases"], row[TAKEN], row["died"]) == (7, 2, 1)
