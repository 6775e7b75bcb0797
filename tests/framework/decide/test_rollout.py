"""Canary and blue/green: what the labels say, and the law that the share is kept at every moment until the go."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.decide.advance_deployment import Census, Side, begin_restart, max_capacity, min_healthy, restart
from framework.decide.rollout import (
    FAILURES_LABEL,
    HEALTHY_LABEL,
    SHARE_LABEL,
    STRATEGY_LABEL,
    Pause,
    held,
    pause,
    problems,
    reached,
    rollout_of,
)
from framework.model.deployment import Progress, Rollout
from framework.model.strategy import UpgradeStrategy


@pytest.mark.parametrize(
    ("labels", "rollout"),
    [
        ({}, None),
        ({STRATEGY_LABEL: "rolling", SHARE_LABEL: "20%"}, None),
        ({STRATEGY_LABEL: "canary"}, Rollout(shares=(0.1,))),
        ({STRATEGY_LABEL: "canary", SHARE_LABEL: " 5% ,25%"}, Rollout(shares=(0.05, 0.25))),
        (
            {STRATEGY_LABEL: "canary", HEALTHY_LABEL: "60", FAILURES_LABEL: "2"},
            Rollout(shares=(0.1,), healthy_seconds=60.0, max_failures=2),
        ),
        ({STRATEGY_LABEL: "blue-green", SHARE_LABEL: "5%"}, Rollout(blue_green=True, shares=(1.0,))),
        ({STRATEGY_LABEL: "canary", SHARE_LABEL: "nonsense"}, None),
    ],
)
def test_labels_say_how_a_version_is_tried(labels, rollout) -> None:
    assert rollout_of(labels) == rollout


@pytest.mark.parametrize(
    ("label", "text"),
    [
        *((STRATEGY_LABEL, text) for text in ("", "Canary", "green")),
        *((SHARE_LABEL, text) for text in ("", "10", "0%", "100%", "20%,10%", "10%,10%", "nan%", "inf%", "1%," * 30)),
        *((HEALTHY_LABEL, text) for text in ("", "-1", "nan", "inf", "soon")),
        *((FAILURES_LABEL, text) for text in ("", "-1", "1.5", "³", "9999999")),
    ],
)
def test_a_label_that_cannot_be_read_is_named(label: str, text: str) -> None:
    assert list(problems({label: text})) == [label]


@pytest.mark.parametrize(
    ("n", "over", "rollout", "phase", "expected"),
    [
        (10, 1.0, Rollout(shares=(0.1,)), 0, Pause(1, 9)),
        (10, 0.0, Rollout(shares=(0.1,)), 0, Pause(1, 9)),
        (10, 0.0, Rollout(shares=(0.1, 0.45)), 1, Pause(5, 5)),
        (10, 0.0, Rollout(shares=(0.1,)), 1, None),
        (1, 1.0, Rollout(shares=(0.1,)), 0, Pause(1, 1)),
        (1, 0.0, Rollout(shares=(0.1,)), 0, None),  # there is no room for both
        (10, 1.0, Rollout(True, (1.0,)), 0, Pause(10, 10)),
        (10, 0.5, Rollout(True, (1.0,)), 0, Pause(10, 5)),
        (10, 0.0, Rollout(True, (1.0,)), 0, None),
        (0, 1.0, Rollout(True, (1.0,)), 0, None),
    ],
)
def test_how_many_of_each_version_stand_side_by_side(n, over, rollout, phase, expected) -> None:
    assert pause(n, UpgradeStrategy(1.0, over), rollout, Progress(old_at_start=n, phase=phase)) == expected


def test_the_old_version_does_not_grow_beyond_what_it_was() -> None:
    assert pause(10, UpgradeStrategy(), Rollout(shares=(0.1,)), Progress(old_at_start=3)) == Pause(1, 3)


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 10**9),
    n=st.integers(1, 12),
    least=st.sampled_from([0.0, 0.5, 1.0]),
    over=st.sampled_from([0.0, 0.25, 1.0]),
    shares=st.sampled_from([(0.1,), (0.05, 0.5), (1.0,)]),
)
def test_every_rollout_gets_its_share_holds_it_and_ends_after_the_last_go(seed, n, least, over, shares) -> None:
    rnd, strategy = random.Random(seed), UpgradeStrategy(least, over)
    rollout = Rollout(shares == (1.0,), shares)
    old, new, leaving = n, [False] * 0, [0, 0]

    def census() -> Census:
        return Census(Side(len(new), sum(new), leaving[0]), Side(old, old, leaving[1]))

    progress = begin_restart(n, strategy, False, census())
    ceiling = max_capacity(n, strategy) + (min_healthy(n, strategy) == max_capacity(n, strategy))
    gone = 0
    for _ in range(400):
        before = census()
        orders = restart(n, strategy, False, before, progress)
        here = pause(n, strategy, rollout, progress)
        if here is not None:
            orders = held(orders, here, before, max_capacity(n, strategy) - before.present)
            if reached(here, before) and rnd.random() < 0.3:
                progress = Progress(progress.old_at_start, progress.kill_at_once, progress.extra, progress.phase + 1)
                gone += 1
                continue
        if orders.done:
            break
        # One version at a time is waited for.
        the_old = orders.launch_old and (not orders.launch or rnd.random() < 0.5)
        old, leaving[1] = old - orders.kill_old + (orders.launch_old if the_old else 0), leaving[1] + orders.kill_old
        new += [False] * (0 if the_old else orders.launch)
        after = census()
        assert after.present <= max(before.present, ceiling)
        assert after.ok >= min(before.ok, min_healthy(n, strategy) - 1)
        if here is not None:
            assert after.new.staying <= here.new
            assert after.old.staying >= min(before.old.staying, here.old)
        leaving = [0, rnd.randint(0, leaving[1])]
        new = [ok or rnd.random() < 0.5 for ok in new]
        if here is not None and rnd.random() < 0.1:
            old = max(0, old - 1)  # one of the old ones dies, and is to be replaced
    assert orders.done, f"stuck at {census()}"
    assert census().new == Side(n, n, 0)
    assert gone <= len(shares)
