"""What a training makes of images and workers that are lost."""

import multiprocessing
import os
import signal
import time

import pytest

from rock_d2 import build_train_loader
from rock_d2.data.reading import SKIPPED
from rock_d2.engine.batches import BatchReader
from rock_d2.engine.ending import DataUnreadable, ProcessLost
from rock_d2.engine.lost import naming_the_lost

RECORDS = [{"image_id": i} for i in range(8)]


def lost(*names: str) -> dict:
    return {SKIPPED: {f"{name}.png": f"{name}.png: is no image" for name in names}}


def test_each_lost_image_counts_once():
    reader = BatchReader([[lost("a"), {}], [lost("a", "b")], [lost("c")]], max_skipped=2)
    assert reader.next() == [{}, {}]
    reader.next()
    assert list(reader.skipped) == ["a.png", "b.png"]
    with pytest.raises(DataUnreadable, match=r"3 images .*MAX_UNREADABLE is 2; the last: c.png"):
        reader.next()


def test_images_that_other_processes_lost_count_too(heard):
    reader = BatchReader([[lost("a")]], max_skipped=2)
    reader.next()
    reader.share([{"b.png": "b.png: is missing"}, reader.skipped])
    reader.report()
    assert "2 images could not be read, others stood in:\n  a.png: is no image" in heard.text
    with pytest.raises(DataUnreadable):
        reader.share([{"c.png": "c.png: is missing"}])


def slow(record):
    time.sleep(0.01 if record["image_id"] else 100)
    return dict(record)


def quick(record):
    return dict(record)


def reader_with_workers(mapper, **options) -> BatchReader:
    return BatchReader(
        build_train_loader(
            RECORDS, mapper=mapper, total_batch_size=2, seed=0, num_workers=2, **options
        )
    )


def read_on(reader: BatchReader) -> None:
    while True:
        reader.next()


def no_children_after(seconds: float) -> bool:
    end = time.monotonic() + seconds
    while multiprocessing.active_children() and time.monotonic() < end:
        time.sleep(0.05)
    return not multiprocessing.active_children()


def test_killed_worker_is_reported_and_nothing_stays_behind():
    reader = reader_with_workers(quick)
    reader.next()
    # Until workers rest: one that is killed within a lock that they share would stop the others.
    time.sleep(1)
    os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
    start = time.monotonic()
    with pytest.raises(ProcessLost, match=r"a loader worker is lost: DataLoader worker \(pid"):
        read_on(reader)
    assert time.monotonic() - start < 30
    del reader
    assert no_children_after(20)


def test_other_errors_keep_their_cause():
    with pytest.raises(RuntimeError, match="what") as found, naming_the_lost():
        raise RuntimeError("what") from KeyError("why")
    assert isinstance(found.value.__cause__, KeyError)


def test_worker_that_hangs_is_reported_in_time():
    reader = reader_with_workers(slow, timeout=1.5)
    with pytest.raises(ProcessLost, match=r"timed out after 1.5 seconds"):
        read_on(reader)
