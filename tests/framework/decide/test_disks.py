"""Which disk a volume is made on."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.decide.disks import DiskDemand, choose_disks
from framework.model.constraint import Constraint
from framework.model.offer import Disk
from framework.model.volume import PersistentInfo

PATH, MOUNT = Disk("path", 1000, "/mnt/a"), Disk("mount", 300, "/mnt/b")


def demand(kind: str = "path", size: int = 100, **more: Any) -> DiskDemand:
    return DiskDemand("data", kind, size, **more)


@pytest.mark.parametrize(
    ("asked", "disk", "left", "fits"),
    [
        (demand(), PATH, 1000, True),
        (demand(), PATH, 100, True),
        (demand(), PATH, 99, False),
        (demand(), MOUNT, 300, False),  # of the other kind
        (demand("mount"), MOUNT, 300, True),
        (demand("mount"), MOUNT, 200, False),  # it is taken whole or not at all
        (demand("mount", 301), MOUNT, 300, False),
        (demand("mount", most=300), MOUNT, 300, True),
        (demand("mount", most=299), MOUNT, 300, False),
        (demand(profile="ssd"), PATH, 1000, False),
        (demand(profile="ssd"), Disk("path", 1000, "/x", "ssd"), 1000, True),
        (demand(), Disk("path", 1000, "/x", "ssd"), 1000, False),
        (demand(constraints=(Constraint("path", "LIKE", "/mnt/.*"),)), PATH, 1000, True),
        (demand(constraints=(Constraint("path", "LIKE", "/mnt"),)), PATH, 1000, False),  # the whole path
        (demand(constraints=(Constraint("path", "UNLIKE", "/mnt/.*"),)), PATH, 1000, False),
        (demand(constraints=(Constraint("path", "UNLIKE", "/data"),)), PATH, 1000, True),
    ],
)
def test_what_fits(asked: DiskDemand, disk: Disk, left: int, fits: bool) -> None:
    assert asked.fits(disk, left) is fits


def test_sizes_are_thousandths_of_a_megabyte() -> None:
    assert DiskDemand.of("d", PersistentInfo(5, "mount", max_size=7)) == DiskDemand("d", "mount", 5000, 7000)


DISKS = st.lists(
    st.builds(Disk, st.sampled_from(["path", "mount"]), st.integers(1, 50), st.sampled_from("abcdef")),
    unique_by=lambda disk: disk.root,
)


@given(DISKS, st.lists(st.builds(DiskDemand, st.just("d"), st.sampled_from(["path", "mount"]), st.integers(1, 30))))
def test_no_disk_is_given_away_twice_and_every_volume_gets_what_it_asks_for(
    disks: list[Disk], demands: list[DiskDemand]
) -> None:
    chosen = choose_disks(demands, {disk: disk.size for disk in disks})
    if chosen is None:
        return
    assert len(chosen) == len(demands)
    for disk in disks:
        parts = [part.amount for part in chosen if part.disk is disk]
        assert sum(parts) <= disk.size
        assert disk.kind == "path" or parts in ([], [disk.size])
    wanted = sorted((d.kind, d.size) for d in demands if d.kind == "path")
    assert sorted((part.disk.kind, part.amount) for part in chosen if part.disk.kind == "path") == wanted


def test_the_largest_volume_chooses_first_and_the_smallest_disk_does() -> None:
    disks = {Disk("mount", 300, "/b"): 300, Disk("mount", 200, "/s"): 200}
    chosen = choose_disks([demand("mount", 150), demand("mount", 250)], disks)
    assert chosen is not None
    assert [(part.disk.root, part.amount) for part in chosen] == [("/b", 300), ("/s", 200)]
