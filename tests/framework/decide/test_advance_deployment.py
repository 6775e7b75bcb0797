"""Rolling restarts and scaling: rows of Marathon's arithmetic, and the laws that hold in every run."""

import random
from math import ceil, floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.decide.advance_deployment import Census, Side, begin_restart, hold, max_capacity, min_healthy, restart
from framework.model.strategy import UpgradeStrategy


def started(n: int, least: float, over: float, *, old: int, healthy: int | None = None, resident: bool = False):
    """The first orders of a restart of `old` instances, of which `healthy` are."""
    strategy = UpgradeStrategy(least, over)
    census = Census(old=Side(old, old if healthy is None else healthy))
    progress = begin_restart(n, strategy, resident, census)
    orders = restart(n, strategy, resident, census, progress)
    return orders.kill_old, orders.launch


@pytest.mark.parametrize(
    ("n", "least", "over", "old", "healthy", "resident", "kill", "launch"),
    [
        # n, minimumHealthCapacity, maximumOverCapacity, old, healthy, resident -> killed at once, started at once
        (4, 1.0, 1.0, 4, 4, False, 0, 4),
        (4, 0.5, 1.0, 4, 4, False, 2, 4),
        (4, 0.5, 0.0, 4, 4, False, 2, 0),
        (4, 0.0, 0.0, 4, 4, False, 4, 0),
        (10, 0.9, 0.0, 10, 10, False, 1, 0),
        (10, 1.0, 0.1, 10, 10, False, 0, 1),
        (10, 1.0, 0.25, 10, 10, False, 0, 2),
        (3, 0.5, 0.5, 3, 3, False, 1, 1),  # ceil(1.5) = 2 stay, floor(4.5) = 4 at most
        # no room between the bounds: one more, or one less of a resident one
        (4, 1.0, 0.0, 4, 4, False, 0, 1),
        (4, 1.0, 0.0, 4, 4, True, 1, 0),
        # fewer are wanted: the surplus goes at once
        (2, 1.0, 1.0, 5, 5, False, 3, 0),
        # unhealthy ones are not counted as healthy
        (4, 0.5, 1.0, 4, 2, False, 0, 4),
        (4, 0.5, 1.0, 4, 3, False, 1, 4),
        # scaled up by the same change
        (8, 1.0, 1.0, 4, 4, False, 0, 8),
        (0, 1.0, 1.0, 3, 3, False, 3, 0),
    ],
)
def test_the_first_orders_of_a_rolling_restart(n, least, over, old, healthy, resident, kill, launch) -> None:
    assert started(n, least, over, old=old, healthy=healthy, resident=resident) == (kill, launch)


def test_each_new_healthy_instance_lets_one_old_one_go() -> None:
    strategy = UpgradeStrategy(1.0, 1.0)
    progress = begin_restart(4, strategy, False, Census(old=Side(4, 4)))
    for healthy in range(5):
        census = Census(new=Side(4, healthy), old=Side(4, 4))
        assert restart(4, strategy, False, census, progress).kill_old == healthy


def test_a_restart_is_done_only_when_every_old_instance_is_gone() -> None:
    strategy = UpgradeStrategy()
    progress = begin_restart(2, strategy, False, Census(old=Side(2, 2)))
    assert not restart(2, strategy, False, Census(new=Side(2, 2), old=Side(0, 0, 1)), progress).done
    assert not restart(2, strategy, False, Census(new=Side(2, 1)), progress).done
    assert restart(2, strategy, False, Census(new=Side(2, 2)), progress).done


def test_unhealthy_old_instances_do_not_block_a_restart_without_room() -> None:
    strategy = UpgradeStrategy(1.0, 0.0)
    census = Census(old=Side(2, 1))
    progress = begin_restart(2, strategy, False, census)
    orders = restart(2, strategy, False, census, progress)
    assert (orders.kill_old, orders.healthy_kills) == (1, 0)


@pytest.mark.parametrize(
    ("n", "census", "launch", "kill"),
    [
        (3, Census(), 3, 0),
        (3, Census(new=Side(3, 3)), 0, 0),
        (3, Census(new=Side(5, 5)), 0, 2),
        (3, Census(new=Side(2, 2), old=Side(2, 2)), 0, 1),
        (1, Census(new=Side(0, 0, 1)), 1, 0),
        (0, Census(new=Side(2, 2)), 0, 2),
    ],
)
def test_holding_a_number_of_instances(n, census, launch, kill) -> None:
    orders = hold(n, UpgradeStrategy(), census)
    assert (orders.launch, orders.kill_any) == (launch, kill)


def test_a_single_instance_app_waits_for_the_old_one_to_be_gone() -> None:
    assert hold(1, UpgradeStrategy(0.0, 0.0), Census(new=Side(0, 0, 1))).launch == 0
    assert hold(1, UpgradeStrategy(0.0, 0.0), Census()).launch == 1


@pytest.mark.parametrize("n", range(0, 120, 7))
@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.3, 0.5, 0.7, 0.9, 1.0])
def test_bounds_are_exact_in_spite_of_floats(n: int, share: float) -> None:
    percent = round(share * 100)
    strategy = UpgradeStrategy(share, share)
    assert min_healthy(n, strategy) == -(-n * percent // 100)
    assert max_capacity(n, strategy) == n + n * percent // 100


class Cluster:
    """Instances that start, become healthy, fail and die as a seed says, under the orders."""

    def __init__(self, seed: int, old: int, sick: int) -> None:
        self.random = random.Random(seed)
        self.old = ["ok"] * (old - sick) + ["sick"] * sick
        self.new: list[str] = []
        self.leaving = {"old": 0, "new": 0}

    def census(self) -> Census:
        return Census(
            new=Side(len(self.new), self.new.count("ok"), self.leaving["new"]),
            old=Side(len(self.old), self.old.count("ok"), self.leaving["old"]),
        )

    def happen(self) -> None:
        """Something that is not the framework's doing."""
        for side in ("old", "new"):
            self.leaving[side] = self.random.randint(0, self.leaving[side])
        self.new = ["ok" if self.random.random() < 0.5 else state for state in self.new]

    def carry_out(self, orders) -> None:
        for side, count in (("old", orders.kill_old), ("new", orders.kill_new)):
            instances = getattr(self, side)
            instances.sort(key=lambda state: state == "ok")
            healthy = 0
            for _ in range(count):
                state = instances[0]
                if state == "ok" and side == "old" and healthy == orders.healthy_kills:
                    break
                healthy += state == "ok"
                instances.pop(0)
                self.leaving[side] += 1
        self.new += ["starting"] * orders.launch


@settings(max_examples=400, deadline=None)
@given(
    seed=st.integers(0, 10**9),
    n=st.integers(0, 12),
    old=st.integers(0, 15),
    sick=st.integers(0, 4),
    least=st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]),
    over=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    resident=st.booleans(),
)
def test_every_restart_ends_and_keeps_both_bounds(seed, n, old, sick, least, over, resident) -> None:
    over = 0.0 if resident else over
    strategy = UpgradeStrategy(least, over)
    cluster = Cluster(seed, old, min(sick, old))
    progress = begin_restart(n, strategy, resident, cluster.census())
    floor_of_healthy, ceiling = ceil(n * least - 1e-9), floor(n * (1 + over) + 1e-9)
    if floor_of_healthy == ceiling:
        floor_of_healthy, ceiling = (floor_of_healthy - 1, ceiling) if resident else (floor_of_healthy, ceiling + 1)
    for _ in range(300):
        before = cluster.census()
        orders = restart(n, strategy, resident, before, progress)
        if orders.done:
            break
        cluster.carry_out(orders)
        after = cluster.census()
        # By our own doing: what was above the floor may come down to it, what was below stays.
        assert after.ok >= min(before.ok, floor_of_healthy)
        assert after.present <= max(before.present, ceiling)
        cluster.happen()
    assert orders.done, f"stuck at {cluster.census()}"
    assert cluster.census().new == Side(n, n, 0)
