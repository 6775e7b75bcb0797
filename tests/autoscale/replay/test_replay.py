import itertools
import json
import math

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from autoscale.daemon import command
from autoscale.errors import TraceError
from autoscale.policy import Behaviour, Policy, Rate
from autoscale.replay import trace
from autoscale.replay.dromos import Dromos
from autoscale.replay.others import AwsTargetTracking, HorizontalPodAutoscaler, MarathonLbAutoscale, NomadAutoscaler
from autoscale.replay.score import removed_during, score, seconds_to
from autoscale.replay.simulate import Cluster, Moment, Outage, simulate
from autoscale.replay.trace import Trace, read_csv, step_up, with_gap
from dromos.cli import cli

CLUSTER = Cluster(target=40)
SCALERS = {
    "dromos": lambda: Dromos(Policy(40, max=1000)),
    "mlb": lambda: MarathonLbAutoscale(40),
    "hpa": lambda: HorizontalPodAutoscaler(40),
    "nomad": lambda: NomadAutoscaler(40),
    "aws": lambda: AwsTargetTracking(40),
}


class Fixed:
    period = 10.0

    def __init__(self, count: int) -> None:
        self.count = count

    def tick(self, now: float, rate: float | None, instances: int, in_rotation: int) -> int:
        return self.count


def flat(rate: float, seconds: int = 7200) -> Trace:
    return Trace("flat", tuple(float(at) for at in range(0, seconds, 60)), (rate,) * (seconds // 60))


def test_enough_instances_lose_nothing_and_cost_their_hours():
    result = score(simulate(flat(400), CLUSTER, Fixed(10)), CLUSTER)
    assert (result.theta_u, result.theta_o, result.lost_pct) == (0, 0, 0)
    assert result.instance_hours == pytest.approx(20)
    assert (result.actions_per_day, result.reversals_per_day) == (0, 0)


def test_too_few_are_counted_as_share_of_the_demanded_and_lose_what_is_above_their_capacity():
    moments = [Moment(0, 100, 400, 5, 5)]
    result = score(moments, CLUSTER)
    assert (result.theta_u, result.tau_u) == (50, 100)
    assert result.lost_pct == pytest.approx(100 * (400 - 5 * 40 / 0.7) / 400)


def test_idle_instances_are_counted_too():
    result = score([Moment(0, 100, 400, 15, 15), Moment(100, 300, 400, 10, 10)], CLUSTER)
    assert (result.theta_o, result.tau_o) == (12.5, 25)


def test_an_action_that_turns_back_is_a_reversal():
    counts = [2, 4, 4, 6, 5, 5, 4, 7]
    moments = [Moment(at * 3600.0, 3600, 40, count, count) for at, count in enumerate(counts)]
    result = score(moments, CLUSTER)
    assert result.actions_per_day == pytest.approx(5 / (8 / 24))
    assert result.reversals_per_day == pytest.approx(2 / (8 / 24))


def test_a_started_instance_is_in_rotation_after_its_delay():
    moments = simulate(flat(40), Cluster(target=40, start_delay=60), Fixed(3))
    assert [moment.in_rotation for moment in moments[:8]] == [1, 1, 1, 1, 1, 1, 3, 3]


@pytest.mark.parametrize(("name", "seconds"), [("dromos", 30), ("hpa", 15), ("aws", 180), ("mlb", 1200)])
def test_a_tenfold_step_is_followed_within(name, seconds):
    moments = simulate(step_up(before=36, after=360), CLUSTER, SCALERS[name]())
    assert seconds_to(moments, 3600, 9) <= seconds


@pytest.mark.parametrize("kind", ["absent", "frozen", "zero"])
@pytest.mark.parametrize("minutes", [5, 10])
def test_an_outage_of_the_metric_takes_nothing_away(kind, minutes):
    outage = Outage(3600, 3600 + 60 * minutes, kind)
    moments = simulate(flat(400, 10800), CLUSTER, SCALERS["dromos"](), outage)
    assert removed_during(moments, outage.start, outage.end + 600) == 0


def test_others_take_instances_away_when_the_metric_reads_zero():
    outage = Outage(3600, 4200, "zero")
    removed = {
        name: removed_during(simulate(flat(400, 10800), CLUSTER, make(), outage), 3600, 4800)
        for name, make in SCALERS.items()
    }
    assert removed["nomad"] == 9 and removed["hpa"] == 9 and removed["mlb"] >= 4


@pytest.mark.parametrize("name", SCALERS)
@given(rates=st.lists(st.floats(0, 1e5), min_size=2, max_size=40))
def test_bounds_are_kept_whatever_the_demand(name, rates):
    cluster = Cluster(target=40, min=2, max=9)
    demand = Trace("any", tuple(60.0 * index for index in range(len(rates))), tuple(rates))
    moments = simulate(demand, cluster, SCALERS[name]())
    assert all(2 <= moment.instances <= 9 and 0 <= moment.in_rotation <= moment.instances for moment in moments)


def test_generators_give_the_same_for_the_same_seed_and_never_less_than_nothing():
    for make in (trace.diurnal, trace.spikes, trace.ramps, trace.walk, trace.growth):
        assert make() == make()
        assert min(make().rates) >= 0 and len(make().times) > 10_000
    assert trace.diurnal(seed=1) != trace.diurnal(seed=2)


def write(tmp_path, text: str):
    path = tmp_path / "trace.csv"
    path.write_text(text)
    return path


def test_csv_is_read_with_epoch_seconds_and_with_iso_8601(tmp_path):
    seconds = read_csv(write(tmp_path, "time,value\n0,1\n60,2.5\n"))
    assert (seconds.times, seconds.rates) == ((0, 60), (1, 2.5))
    iso = read_csv(
        write(
            tmp_path,
            "1970-01-01T00:01:00Z,1\n1970-01-01T01:02:00+01:00,2\n1970-01-01T00:03:00,\n1970-01-01 00:04:00,4\n",
        )
    )
    assert (iso.times, iso.rates) == ((60, 120, 240), (1, 2, 4))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,value\n0,1\n60,many\n", "line 3: 'many' is not a number of requests per second"),
        ("0,1\n60,-1\n", "line 2: '-1' is not a number"),
        ("0,1\nsoon,2\n", "line 2: 'soon,2' is not time,value"),
        ("0,1\n60\n", "line 2: '60' is not time,value"),
        ("0,1\n60,1\n30,1\n", "sample 3 is not later than the one before it"),
        ("time,value\n", "fewer than two samples"),
        ("1767225600000,1\n1767225660000,1\n", "line 1: '1767225600000,1' is not time,value (a time is in seconds;"),
        ("0,1\n60,1e300\n", "line 2: '1e300' is not a number of requests per second"),
        ("0,1\n60,1\n1e9,1\n", "is about 11,574 days; 20 years are the most"),
    ],
)
def test_a_bad_line_is_named(tmp_path, text, message):
    with pytest.raises(TraceError) as caught:
        read_csv(write(tmp_path, text))
    assert message in str(caught.value)


def test_a_gap_is_a_time_of_which_nothing_is_known():
    moments = simulate(with_gap(flat(400), 1800, 3600), CLUSTER, SCALERS["dromos"]())
    unknown = [moment for moment in moments if moment.rate is None]
    assert unknown and all(moment.instances == 10 for moment in unknown)
    assert score(moments, CLUSTER).lost_pct == 0


def replayed(*args: str):
    return CliRunner().invoke(command, ["replay", *args])


def test_replay_prints_a_chart_and_the_scores_and_writes_an_svg(tmp_path):
    path = write(tmp_path, "".join(f"{60 * minute},{200 + 150 * math.sin(minute / 60)}\n" for minute in range(720)))
    done = replayed(str(path), "--svg", str(tmp_path / "chart.svg"))
    assert done.exit_code == 0
    assert "instances in rotation" in done.output and "instance-hours" in done.output
    assert (tmp_path / "chart.svg").read_text().startswith("<svg ")


@pytest.mark.parametrize("policy", ["dromos", "mlb", "hpa", "nomad", "aws"])
def test_replay_as_json_has_every_score(tmp_path, policy):
    path = write(tmp_path, "0,100\n60,100\n120,400\n180,400\n")
    done = replayed(
        str(path),
        "--policy",
        policy,
        "--target",
        "50",
        "--min",
        "1",
        "--max",
        "9",
        "--start-delay",
        "30s",
        "--headroom",
        "0.8",
        "--json",
    )
    assert set(json.loads(done.output)) == {
        *("theta_u", "theta_o", "tau_u", "tau_o", "lost_pct", "instance_hours", "actions_per_day", "reversals_per_day")
    }


def test_a_policy_may_come_from_a_file(tmp_path):
    path = write(tmp_path, "".join(f"{60 * minute},{400 if minute < 60 else 40}\n" for minute in range(180)))
    (tmp_path / "calm.json").write_text('{"down_after": 100000}')
    (tmp_path / "quick.json").write_text('{"down_after": 60}')
    hours = [
        json.loads(replayed(str(path), "--policy", str(tmp_path / name), "--json").output)["instance_hours"]
        for name in ("calm.json", "quick.json")
    ]
    assert hours[0] > hours[1] + 5


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--policy", "no-such"), "no-such is neither dromos, mlb, hpa, nomad or aws nor a file that can be read"),
        (("--policy", "bad.json"), "down_after"),
        (("--min", "5", "--max", "2"), "--min 5 is above --max 2"),
    ],
)
def test_what_cannot_be_replayed_is_said(tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text('{"down_after": "late"}')
    done = replayed(str(write(tmp_path, "0,1\n60,1\n")), *args)
    assert done.exit_code != 0
    assert message in done.output + str(done.exception)


@pytest.mark.parametrize("demand", [trace.diurnal(days=7), trace.walk()], ids=lambda demand: demand.name)
def test_it_is_as_good_as_the_best_at_no_higher_cost_and_a_third_of_the_turns(demand):
    """The goals of the benchmark, on two of its traces."""
    scores = {name: score(simulate(demand, CLUSTER, SCALERS[name]()), CLUSTER) for name in ("dromos", "hpa", "nomad")}
    ours = scores.pop("dromos")
    assert ours.lost_pct <= min(other.lost_pct for other in scores.values()) + 0.0005
    assert ours.instance_hours <= min(other.instance_hours for other in scores.values())
    assert 3 * ours.reversals_per_day <= scores["hpa"].reversals_per_day


def test_a_replay_draws_a_png_and_takes_hpas_and_marathon_lb_autoscales_files(tmp_path):
    recording = tmp_path / "recording.csv"
    recording.write_text("time,value\n" + "".join(f"{60 * minute},{100 + minute % 200}\n" for minute in range(600)))
    flags = tmp_path / "flags"
    flags.write_text("marathon-lb-autoscale --apps web_10001 --target-rps 40 --min-instances 2")
    hpa = tmp_path / "hpa.yaml"
    hpa.write_text(
        "kind: HorizontalPodAutoscaler\nspec:\n  scaleTargetRef: {name: web}\n  maxReplicas: 9\n"
        "  metrics: [{type: Pods, pods: {metric: {name: rps}, target: {averageValue: 40}}}]\n"
        "  behavior: {scaleUp: {policies: [{type: Pods, value: 1, periodSeconds: 60}]}}\n"
    )
    for policy in (flags, hpa):
        picture = tmp_path / f"{policy.name}.png"
        done = CliRunner().invoke(
            command, ["replay", str(recording), "--policy", str(policy), "--png", str(picture), "--json"]
        )
        assert done.exit_code == 0, done.output
        assert json.loads(done.output)["lost_pct"] < 5
        assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_up_rates_of_the_policy_hold_in_a_replay():
    slow = Policy(40, max=1000, up=Behaviour(rates=(Rate("instances", 1, 600),)))
    counts = [moment.instances for moment in simulate(step_up(before=36, after=360), CLUSTER, Dromos(slow))]
    assert max(after - before for before, after in itertools.pairwise(counts)) == 1
    assert max(counts) < 9


def test_json_may_be_asked_for_before_the_commands_name(tmp_path):
    path = write(tmp_path, "0,100\n60,100\n120,400\n")
    done = CliRunner().invoke(cli, ["--json", "autoscale", "replay", str(path)])
    assert json.loads(done.output)["lost_pct"] >= 0, done.output
