"""FLOPs and bytes against the arithmetic."""

import pytest
import torch

from rock_d2.benchmarks import train
from rock_d2.benchmarks.roofline import Machine, Work, count_work, fraction


def test_counts_of_a_product_a_sum_and_a_view():
    a, b = torch.ones(10, 20), torch.ones(20, 30)
    # 10 * 30 sums of 20 products; a, b and the result have 200, 600 and 300 floats.
    assert count_work(lambda: a @ b) == Work(2 * 10 * 30 * 20, 4 * (200 + 600 + 300))
    assert count_work(lambda: a + a) == Work(0, 4 * 600)
    assert count_work(lambda: a.t().flatten(0, 0)[3:]) == Work(0, 0)


def test_counts_of_a_convolution():
    image, weight = torch.ones(1, 3, 8, 8), torch.ones(5, 3, 3, 3)
    # 36 windows of 27 values, 5 times.
    work = count_work(lambda: torch.nn.functional.conv2d(image, weight))
    assert work == Work(2 * 36 * 27 * 5, 4 * (192 + 135 + 180))


def test_the_slower_of_both_bounds_the_time():
    machine = Machine(flops=100.0, bytes=10.0)
    assert machine.seconds(Work(flops=200, bytes=10)) == 2
    assert machine.seconds(Work(flops=200, bytes=40)) == 4
    assert fraction(machine, Work(flops=200, bytes=40), [5.0, 8.0, 100.0]) == pytest.approx(0.5)


def test_compiled_and_recorded_steps_do_what_the_plain_one_does(monkeypatch):
    rates = {torch.float32: 1e9, torch.bfloat16: 2e9}
    monkeypatch.setattr(train, "measure_machine", lambda _, kind: Machine(rates[kind], 1e12))
    a = torch.ones(100, 100)
    # 2 million operations in a hundredth of a second; the recording counts nothing by itself.
    steps = {train.OURS: lambda: a @ a, train.BF16: lambda: a @ a, f"{train.BF16}, graph": list}
    found = train.roofline({**steps, "other": list}, dict.fromkeys(steps, (0.01,)), "cpu")
    assert found["GFLOPs"] == dict.fromkeys(steps, "0.0")
    shares = [text.partition(" ")[0] for text in found["of the roofline"].values()]
    assert shares == ["20%", "10%", "10%"]
