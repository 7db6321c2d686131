"""A profile's operators against those of a known computation."""

import torch

from rock_d2.benchmarks.profiling import operators, print_profiles

CPU = torch.device("cpu")


def test_operators_are_those_of_one_computation(capsys):
    a = torch.ones(300, 300)
    computation = lambda: [a @ a, a @ a + 1]  # noqa: E731
    found = operators(computation, CPU)
    calls = {operator.operator: operator.calls for operator in found}
    assert calls["aten::mm"] == 2 and calls["aten::add"] == 1
    assert found == sorted(found, key=lambda operator: -operator.ms)
    # Products of 300 x 300 matrices take far more time than what calls them.
    assert found[0].operator == "aten::mm"
    print_profiles({"x": computation, "y": computation, "z": computation}, CPU)
    shown = capsys.readouterr().out
    assert "x: " in shown and "y: " in shown and "z: " not in shown
