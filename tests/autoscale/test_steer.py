"""What surrounds the decision: each test lets an app live through some minutes of demand, a look every 5 seconds."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscale.decide import Situation
from autoscale.policy import Behaviour, Policy, Rate, Signal
from autoscale.sample import Quality, Sample
from autoscale.schedule import Schedule
from autoscale.steer import Past, Saturation, bounds_at, steer

POLICY = Policy(target=20, min=1, max=100, down_after=60)
STEP = 5.0


class App:
    """An app whose orders are carried out at once, unless `accepts` says that the API refuses."""

    def __init__(self, policy: Policy, instances: int, now: float = 1_000_000.0) -> None:
        self.policy, self.instances, self.now = policy, instances, now
        self.past, self.deploying, self.saturation = Past(), False, None
        self.accepts: Callable[[int], bool] = lambda _: True
        self.counts: list[int] = []
        self.reasons: list[str] = []

    @property
    def reason(self) -> str:
        return self.reasons[-1]

    def lives(self, seconds: float, rate: float = 0.0, quality: Quality = Quality.FRESH) -> "App":
        end = self.now + seconds
        while self.now < end:
            situation, sample = Situation(self.instances, self.deploying), Sample(self.now, rate, quality)
            steered = steer(self.policy, situation, sample, self.past, self.now, saturation=self.saturation)
            self.reasons.append(steered.reason)
            if steered.instances == self.instances:
                self.past = steered.past
            elif self.accepts(steered.instances):
                self.past = steered.past.accepted(self.now, self.instances, steered.instances)
                self.instances = steered.instances
            else:
                self.past = steered.refused
            self.counts.append(self.instances)
            self.now += STEP
        return self


def test_without_behaviour_the_demand_is_followed_at_once():
    assert App(POLICY, 2).lives(STEP, 600).instances >= 27


def test_up_rates_count_from_the_periods_begin_and_the_most_generous_holds():
    policy = replace(POLICY, up=Behaviour(rates=(Rate("percent", 100, 60), Rate("instances", 4, 60))))
    app = App(policy, 2).lives(55, 2000)
    assert set(app.counts) == {6}, "4 more, which is more than 100 %"
    assert "allowed by the rate" in app.reason
    assert app.lives(60, 2000).instances == 12, "100 % of 6"


def test_with_select_min_the_strictest_rate_holds():
    policy = replace(POLICY, up=Behaviour(rates=(Rate("percent", 100, 60), Rate("instances", 4, 60)), select="min"))
    assert App(policy, 2).lives(55, 2000).instances == 4


def test_a_direction_that_is_off_is_not_gone():
    assert App(replace(POLICY, up=Behaviour(select="off")), 2).lives(60, 2000).instances == 2
    assert App(replace(POLICY, down=Behaviour(select="off")), 9).lives(4000, 20).instances == 9


def test_up_stabilisation_waits_until_more_was_needed_all_the_time():
    policy = replace(POLICY, up=Behaviour(stabilisation=60))
    app = App(policy, 2).lives(55, 400)
    assert set(app.counts) == {2} and "not yet for 60 s" in app.reason
    assert app.lives(15, 400).instances > 10
    blip = App(policy, 2).lives(300, 30).lives(STEP, 400).lives(300, 30)
    assert set(blip.counts) == {2}


def test_down_rates_take_instances_step_by_step():
    policy = replace(POLICY, down=Behaviour(rates=(Rate("instances", 2, 60),)))
    app = App(policy, 20).lives(4000, 20)
    assert app.instances < 6
    for before, after in zip(app.counts, app.counts[int(55 / STEP) :], strict=False):
        assert before - after <= 2


def test_what_the_api_refuses_costs_neither_rate_nor_direction():
    policy = replace(POLICY, up=Behaviour(rates=(Rate("instances", 4, 600),)))
    app = App(policy, 2)
    app.accepts = lambda _: False
    app.lives(60, 2000)
    assert app.past.changes == () and app.past.history.direction == 0
    app.accepts = lambda _: True
    assert app.lives(STEP, 2000).instances == 6, "the whole allowance is still there"


def test_a_spent_flap_budget_keeps_what_is_there_but_lets_it_grow():
    policy = replace(POLICY, flaps=10, flap_window=3600)
    app = App(policy, 2).lives(60, 300)
    high = app.instances
    assert high >= 12, "more starts than the budget"
    app.lives(3000, 20)
    assert app.instances == high and "flap budget" in app.reason
    assert app.lives(60, 600).instances > high
    app.lives(7200, 20)
    assert app.instances < high, "an hour later there is a budget again"


def test_a_schedule_raises_the_bounds_in_its_window_and_early_by_the_starts_lag():
    morning = datetime(2026, 5, 4, 7, 50, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    schedule = Schedule("0 8 * * 1-5", 3600, "Europe/Berlin", min=6)
    app = App(replace(POLICY, schedules=(schedule,)), 2, now=morning)
    app.past = Past(lag=120)
    assert app.lives(470, 10).instances <= 2
    assert app.lives(20, 10).instances == 6 and "schedule: 6 to 100" in app.reason
    assert app.lives(3500, 10).instances == 6
    assert app.lives(3600, 10).instances < 6, "after it the demand decides"


def test_of_several_windows_the_highest_bounds_hold():
    always = [
        Schedule("* * * * *", 60, min=3, max=5),
        Schedule("* * * * *", 60, min=4),
        Schedule("* * * * *", 60, max=2),
    ]
    policy, _ = bounds_at(replace(POLICY, schedules=tuple(always)), 1e9, 0)
    assert (policy.min, policy.max) == (4, 5)


def test_an_idle_app_goes_to_zero_and_the_first_request_wakes_it():
    policy = replace(POLICY, min=0, idle_after=300)
    app = App(policy, 3).lives(300, 50).lives(290, 0, Quality.TRUE_ZERO)
    assert app.instances >= 1
    assert app.lives(30, 0, Quality.TRUE_ZERO).instances == 0
    assert any("to zero" in reason for reason in app.reasons)
    assert app.lives(600, 0, Quality.TRUE_ZERO).instances == 0
    assert app.lives(STEP, 0.1).instances == 1 and "woken by a request" in app.reason
    assert App(policy, 0).lives(STEP, 200).instances >= 9, "as many as are needed"


@pytest.mark.parametrize("quality", [Quality.STALE, Quality.UNPROVEN_ZERO, Quality.PARTIAL])
def test_nothing_but_proof_takes_the_last_instance(quality):
    app = App(replace(POLICY, min=0, idle_after=60), 1).lives(4000, 0, quality)
    assert app.instances == 1
    app = App(replace(POLICY, min=0, idle_after=60), 1).lives(50, 0, Quality.TRUE_ZERO).lives(STEP, 0, quality)
    assert app.lives(50, 0, Quality.TRUE_ZERO).instances == 1, "the time of proof begins anew"


def test_partial_data_raises_and_never_lowers():
    assert App(POLICY, 5).lives(4000, 20, Quality.PARTIAL).instances == 5
    app = App(POLICY, 5).lives(STEP, 400, Quality.PARTIAL)
    assert app.instances > 15 and "partial data" in app.reason


def test_saturation_holds_and_a_queue_asks_for_one_more():
    app = App(POLICY, 5)
    app.saturation = Saturation("3 requests wait", raises=False)
    assert app.lives(4000, 20).instances == 5 and "saturated: 3 requests wait" in app.reason
    app.saturation = Saturation("3 requests wait", raises=True)
    assert app.lives(STEP, 20).instances == 6


def test_a_roll_out_lets_up_and_the_intent_to_go_down_is_carried_over_it():
    app = App(POLICY, 9).lives(40, 20)
    app.deploying = True
    assert app.lives(3600, 20).instances == 9
    app.deploying = False
    assert app.lives(3 * STEP, 20).instances < 9, "the time of calm has passed meanwhile"
    app.deploying = True
    assert app.lives(STEP, 400).instances > 15


samples = st.tuples(st.floats(0, 1e4), st.sampled_from(Quality))
behaviours = st.builds(
    Behaviour,
    st.sampled_from([0.0, 30.0]),
    st.lists(
        st.builds(Rate, st.sampled_from(["instances", "percent"]), st.floats(0.1, 200), st.floats(1, 600)), max_size=2
    ).map(tuple),
    st.sampled_from(["max", "min", "off"]),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(samples, st.booleans(), st.booleans()), max_size=40), behaviours, behaviours, st.integers(0, 3)
)
def test_whatever_happens_bounds_hold_and_bad_data_and_roll_outs_never_lower(steps, up, down, least):
    app = App(replace(POLICY, min=least, max=20, up=up, down=down, idle_after=20, down_after=10), max(1, least))
    unproven = 0
    for (rate, quality), deploying, accepted in steps:
        app.deploying, app.accepts = deploying, lambda _, accepted=accepted: accepted
        before = app.instances
        unproven = unproven + 1 if quality is Quality.UNPROVEN_ZERO else 0
        app.lives(STEP, 0 if "zero" in quality.value else rate, quality)
        assert least <= app.instances <= 20
        if deploying or quality in (Quality.STALE, Quality.PARTIAL) or (0 < unproven * STEP < 900):
            assert app.instances >= before


def test_reasons_name_what_is_measured():
    cpu = Policy(0.5, signals=(Signal("cpu", 0.5),))
    assert "2.0 CPU shares in use of 0.5 an instance: 4" in App(cpu, 4).lives(STEP, 2.0).reason
