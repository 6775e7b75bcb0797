import gc
from collections.abc import Iterator

import pytest

from daemonkit.garbage import Garbage


class Node:
    def __init__(self) -> None:
        self.other: object = None


def cycle() -> None:
    one, two = Node(), Node()
    one.other, two.other = two, one


def nodes() -> int:
    return sum(isinstance(item, Node) for item in gc.get_objects())


@pytest.fixture
def garbage() -> Iterator[Garbage]:
    idle = [True]
    one = Garbage(lambda: idle[0])
    one.start()
    try:
        yield one
    finally:
        one.stop()
        gc.collect()


def test_what_survives_a_full_collection_is_set_aside_and_garbage_is_not(garbage: Garbage):
    before = gc.get_freeze_count()
    kept = [Node() for _ in range(5000)]
    for _ in range(100):
        cycle()
    gc.collect()
    assert gc.get_freeze_count() >= before + len(kept)
    assert nodes() == 0, "the cycles are gone, and the next collection does not look at what is kept"


def test_what_is_set_aside_goes_with_its_last_reference(garbage: Garbage):
    kept = [Node() for _ in range(5000)]
    gc.collect()
    before = gc.get_freeze_count()
    kept.clear()
    assert gc.get_freeze_count() <= before - 5000


def test_a_sweep_finds_the_cycles_among_what_was_set_aside_once_that_has_grown(garbage: Garbage):
    assert not garbage.sweep(), "nothing has grown"
    many: list[object] = [[] for _ in range(gc.get_freeze_count() * 2)]
    pair = Node(), Node()
    pair[0].other, pair[1].other = pair[1], pair[0]
    gc.collect()
    del pair
    gc.collect()
    gc.unfreeze()
    assert nodes() == 2, "no collection looks at it any more"
    gc.freeze()
    assert garbage.sweep()
    gc.unfreeze()
    assert nodes() == 0
    del many


def test_a_sweep_waits_for_a_daemon_that_is_busy():
    one = Garbage(lambda: False)
    one.start()
    try:
        many: list[object] = [[] for _ in range(gc.get_freeze_count() * 2)]
        gc.collect()
        assert not one.sweep()
        del many
    finally:
        one.stop()


def test_the_collector_is_as_before_afterwards():
    before = gc.get_threshold(), list(gc.callbacks)
    one = Garbage(lambda: True)
    one.start()
    assert gc.get_threshold() != before[0]
    one.stop()
    assert (gc.get_threshold(), list(gc.callbacks)) == before and gc.get_freeze_count() == 0
