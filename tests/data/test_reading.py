"""Images that cannot be read: tried again, then an error, or others stand in for them."""

from itertools import islice

import pytest

from rock_d2 import build_train_loader
from rock_d2.data import reading
from rock_d2.data.reading import SKIPPED, UnreadableError, read_patiently

RECORDS = [{"image_id": i, "file_name": f"{i}.png"} for i in range(10)]
LOST = {3, 7}


def partly_lost(record):
    if record["image_id"] in LOST:
        raise ValueError(f"{record['file_name']}: is no image")
    return {"image_id": record["image_id"]}


def batches(count: int, **options) -> list[list[dict]]:
    loader = build_train_loader(RECORDS, mapper=partly_lost, total_batch_size=5, seed=1, **options)
    return list(islice(loader, count))


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(reading, "FIRST_PAUSE", 0)


@pytest.mark.parametrize(("failures", "retries"), [(0, 0), (1, 1), (2, 2), (2, 3)])
def test_file_that_comes_back_is_read(failures, retries):
    problems = iter([OSError("stale handle")] * failures)

    def mapper(record):
        for problem in problems:
            raise problem
        return record

    assert read_patiently(mapper, {"a": 1}, retries=retries) == {"a": 1}


def test_file_that_stays_away_is_an_error_after_all_attempts():
    calls = []
    with pytest.raises(ValueError, match=r"3.png: is no image"):
        read_patiently(
            lambda record: calls.append(record) or partly_lost(record), RECORDS[3], retries=2
        )
    assert len(calls) == 3


@pytest.mark.parametrize("num_workers", [0, 2])
def test_without_leave_the_first_one_is_an_error_in_one_line(num_workers):
    with pytest.raises(UnreadableError, match=r"^[37].png: is no image$"):
        batches(2, num_workers=num_workers)


def test_others_stand_in_and_the_rest_is_as_it_was():
    found = batches(4, max_unreadable=2)
    assert batches(4, max_unreadable=2, num_workers=2) == found
    assert [len(batch) for batch in found] == [5] * 4
    items = [item for batch in found for item in batch]
    skipped = [name for item in items for name in item.get(SKIPPED, {})]
    # In two passes; a stand-in may be the other lost one, for which another stands in.
    assert skipped.count("3.png") >= 2 and skipped.count("7.png") >= 2
    assert not LOST & {item["image_id"] for item in items}
    first = [item["image_id"] for item in items[:10] if SKIPPED not in item]
    assert sorted(first) == sorted(set(range(10)) - LOST)


def test_programming_errors_are_not_hidden():
    def broken(record):
        raise TypeError("not a file's fault")

    loader = build_train_loader(
        RECORDS, mapper=broken, total_batch_size=5, seed=1, max_unreadable=9, retries=9
    )
    with pytest.raises(TypeError):
        next(iter(loader))


def test_as_many_as_may_be_skipped_never_end_it():
    """No image stands in for itself, and none twice."""
    positions = build_train_loader(
        RECORDS, mapper=partly_lost, total_batch_size=5, seed=1, max_unreadable=2
    ).dataset
    skipped = [len(positions[i].get(SKIPPED, {})) for i in range(400)]
    assert skipped.count(0) == 320 and max(skipped) == 2
