import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscale.decide import Situation
from autoscale.demand import Measured, combined
from autoscale.errors import PolicyError
from autoscale.policy import Behaviour, Policy, Rate, Signal
from autoscale.policy_file import Policies
from autoscale.policy_keys import KEYS, parse
from autoscale.sample import Quality, Sample
from autoscale.schedule import Schedule
from autoscale.steer import Past, steer


def from_labels(given: dict[str, str]) -> Policy | None:
    """As an app's labels are read where there is no policy file."""
    return Policies().of("/app", given)


def labels(**values: str) -> dict[str, str]:
    return {f"DROMOS_AUTOSCALE_{name}": value for name, value in values.items()}


def test_an_app_without_a_target_is_not_scaled():
    assert from_labels({"HAPROXY_GROUP": "external", **labels(MIN="2")}) is None


def test_a_target_alone_has_good_defaults():
    assert from_labels(labels(TARGET="20")) == Policy(20, min=1, max=100, tolerance=0.1, down_after=300)


def test_all_can_be_set():
    given = labels(TARGET="0.5", MIN="0", MAX="7", TOLERANCE="0.2", DOWN_AFTER="90s")
    assert from_labels(given) == Policy(0.5, min=0, max=7, tolerance=0.2, down_after=90)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (labels(TARGET="many"), "DROMOS_AUTOSCALE_TARGET='many' is not a number"),
        (labels(TARGET="0"), "DROMOS_AUTOSCALE_TARGET='0' is to be above 0"),
        (labels(TARGET="nan"), "DROMOS_AUTOSCALE_TARGET='nan' is to be at least 0"),
        (labels(TARGET="1", MIN="-1"), "DROMOS_AUTOSCALE_MIN='-1' is to be at least 0"),
        (labels(TARGET="1", MIN="5", MAX="3"), "DROMOS_AUTOSCALE_MIN=5 is above DROMOS_AUTOSCALE_MAX=3"),
        (labels(TARGET="1", MAX="2.5"), "DROMOS_AUTOSCALE_MAX='2.5' is not a number"),
        (labels(TARGET="1", DOWN_AFTER="later"), "DROMOS_AUTOSCALE_DOWN_AFTER='later' is not a number"),
    ],
)
def test_what_cannot_be_is_named(given, message):
    with pytest.raises(PolicyError) as caught:
        from_labels(given)
    assert message in str(caught.value)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(PolicyError) as caught:
        from_labels(labels(TARGET="x", MIN="y"))
    assert "TARGET='x'" in str(caught.value) and "MIN='y'" in str(caught.value)


def test_labels_and_files_have_the_same_keys():
    given = labels(
        CPU="0.7",
        LATENCY="250ms",
        QUEUE="50",
        QUEUE_URL="http://queue/stats",
        QUEUE_PATH="messages.0.depth",
        UP_RATE="100%/15s, 4/1m",
        DOWN_RATE="1/5m",
        DOWN_SELECT="min",
        UP_AFTER="30s",
        FLAPS="20/30m",
        SCHEDULE="0 8 * * 1-5 for 10h Europe/Berlin min=4 max=20; 0 0 * * * for 5h min=0",
        FORECAST="off",
        IDLE_AFTER="10m",
        SHADOW="true",
    )
    found = from_labels(given)
    assert found is not None
    assert found.signals == (
        Signal("latency", 0.25),
        Signal("cpu", 0.7),
        Signal("queue", 50, url="http://queue/stats", path="messages.0.depth"),
    )
    assert found.up == Behaviour(30, (Rate("percent", 100, 15), Rate("instances", 4, 60)))
    assert found.down == Behaviour(0, (Rate("instances", 1, 300),), "min")
    assert (found.flaps, found.flap_window, found.idle_after) == (20, 1800, 600)
    assert found.schedules == (
        Schedule("0 8 * * 1-5", 36_000, "Europe/Berlin", 4, 20),
        Schedule("0 0 * * *", 18_000, "UTC", 0),
    )
    assert found.shadow and found.forecast == "off"
    assert parse({key.removeprefix("DROMOS_AUTOSCALE_").lower(): value for key, value in given.items()}) == found


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"queue": 5}, "queue_url is missing"),
        ({"query_target": 5}, "query is missing"),
        ({"target": 5, "up_rate": "fast"}, "'fast' is not a rate like 100%/15s or 4/1m"),
        ({"target": 5, "up_rate": "0/1m"}, "'0/1m' is not a rate"),
        ({"target": 5, "flaps": "few"}, "'few' is not a number of starts and stops"),
        ({"target": 5, "forecast": "maybe"}, "'maybe' is none of auto, on, off"),
        ({"target": 5, "schedule": "0 8 * * for 1h min=2"}, "'0 8 * * for' is not a cron expression"),
        ({"target": 5, "schedule": "0 8 * * * for 1h Moon/Base min=2"}, "'Moon/Base' is not a time zone"),
        ({"target": 5, "schedule": "0 8 * * * min=2"}, "window of 0 s"),
        ({"target": 5, "schedule": "0 8 * * * for 1h"}, "neither min nor max"),
        ({"target": 5, "schedule": "0 8 * * * for 1h min=x"}, "is not a schedule like"),
        ({"target": 5, "schedule": "0 0 30 2 * for 1h min=2"}, "names no time that ever comes"),
        ({"target": 5, "max": 1_000_000}, "at most 10000"),
        ({"target": 5, "targte": 5}, "targte is not known"),
        ({"target": [1]}, "target=[1] is not a number"),
        ({"target": 5, "shadow": "perhaps"}, "'perhaps' is neither true nor false"),
    ],
)
def test_what_a_file_cannot_ask_for_is_named(given, message):
    with pytest.raises(PolicyError) as caught:
        parse(given)
    assert message in str(caught.value)


@given(st.dictionaries(st.sampled_from(sorted(KEYS)), st.text(max_size=30)))
def test_any_text_is_a_policy_or_an_error_in_one_line(given):
    try:
        found = parse(given)
    except PolicyError as error:
        assert "\n" not in str(error)
    else:
        assert found is None or 0 <= found.min <= found.max


# What a label can be made to say so that a sum of it is no number any more, or takes for ever.
EXTREMES = st.sampled_from(
    ["0", "1e-320", "5e-324", "1e-7", "1e308", "1e999", "-1", "nan", "inf", "-inf", "9" * 400, "1e9", "604800", "1e6"]
)


@given(
    target=EXTREMES,
    bound=EXTREMES,
    tolerance=EXTREMES,
    time=EXTREMES,
    rate=EXTREMES,
    demand=st.sampled_from([0.0, 1e-9, 1.0, 1e300]),
)
def test_whatever_a_label_says_the_decision_ends_and_keeps_the_bounds(target, bound, tolerance, time, rate, demand):
    wrong = 0
    for asked in (
        labels(TARGET=target),
        labels(TARGET="1", MAX=bound),
        labels(TARGET="1", TOLERANCE=tolerance),
        labels(TARGET="1", DOWN_AFTER=time, UP_AFTER=time),
        labels(TARGET="1", UP_RATE=f"{rate}%/1m,{rate}/{time}s", FLAPS=f"3/{time}s"),
    ):
        try:
            policy = from_labels(asked)
        except PolicyError:
            wrong += 1
            continue
        assert policy is not None
        past, count = Past(), 3
        for now in (1e9, 1e9 + 2, 1e9 + 4, 1e9 + 1000):
            measured = [Measured(signal, Sample(now, demand, Quality.FRESH)) for signal in policy.measured]
            steered = steer(policy, Situation(count, False), combined(policy, measured, count, now), past, now)
            past, count = steered.past, steered.instances
            assert max(1, policy.min) <= count <= policy.max
    assert wrong or target not in ("0", "nan", "1e-320")


def test_lists_have_an_end():
    with pytest.raises(PolicyError, match="21 are given, 20 are the most"):
        from_labels(labels(TARGET="1", UP_RATE=",".join(["4/15s"] * 21)))
    with pytest.raises(PolicyError, match="30 are given"):
        from_labels(labels(TARGET="1", SCHEDULE=";".join(["0 0 * * * for 1h min=2"] * 30)))


def test_a_long_time_is_remembered_in_little_space():
    policy = from_labels(labels(TARGET="1", DOWN_AFTER="7d", MAX="10000"))
    assert policy is not None
    past = Past()
    for second in range(0, 40_000, 20):  # falls all the time, so that each level could be the highest of those to come
        sample = Sample(1e9 + second, 9000 - second / 5, Quality.FRESH)
        past = steer(policy, Situation(9000, False), sample, past, 1e9 + second).past
    assert past.history.estimate is not None
    assert len(past.history.estimate.peaks) <= 130 and past.history.estimate.peak > 8500
