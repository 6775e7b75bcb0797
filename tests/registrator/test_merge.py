"""Several sources, one truth: who decides what runs, and what becomes of it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registrator.merge import Age, Patience, Seen, Verdict, judge, merge
from registrator.model import Health, HealthCheck, Instance, Look, Phase, Port

MESOS = Instance(
    "t1",
    "task",
    app="/guess",
    framework="f",
    ports=(Port(0, host_port=1, host_address="10.0.0.1"),),
    labels={"a": "mesos"},
)
FRAMEWORK = Instance(
    "t1",
    "task",
    app="/web",
    version="v1",
    health=Health.HEALTHY,
    ports=(Port(0, host_port=2),),
    labels={"a": "old", "b": "x"},
    checks=(HealthCheck("http"),),
)
DOCKER = Instance("t1", "task", env={"SERVICE_TAGS": "image"}, health=Health.HEALTHY, container="c")
CONTAINER = Instance("c9", "container", app="nginx")
NEW, OLD = Age(), Age(known=1000, unreachable=1000)


def look(*instances: Instance, ended: tuple[str, ...] = (), frameworks: tuple[str, ...] = ("f",)) -> Seen:
    return Seen(Look({item.key: item for item in instances}, frozenset(ended), frameworks=frozenset(frameworks)))


def test_one_task_that_three_sources_see_is_one_instance() -> None:
    truth = merge({"mesos": look(MESOS), "framework": look(FRAMEWORK), "docker": look(DOCKER)})
    (one,) = truth.instances.values()
    assert (one.app, one.version, one.health) == ("/web", "v1", Health.HEALTHY)
    assert one.ports == MESOS.ports, "where it runs is for Mesos to say"
    assert one.labels == {"a": "mesos", "b": "x"}
    assert one.env == {"SERVICE_TAGS": "image"}
    assert one.checks == FRAMEWORK.checks


def test_mesos_says_what_runs() -> None:
    truth = merge({"mesos": look(), "framework": look(FRAMEWORK), "docker": look(DOCKER, CONTAINER)})
    assert set(truth.instances) == {"c9"}
    assert truth.authority == {"task": "mesos", "container": "docker"}


@pytest.mark.parametrize(
    ("sources", "authority"),
    [
        ({"framework": look(), "docker": look()}, {"task": "framework", "container": "docker"}),
        ({"docker": look()}, {"task": "docker", "container": "docker"}),
        ({"mesos": look()}, {"task": "mesos", "container": None}),
    ],
)
def test_the_authority_follows_from_the_sources_that_there_are(
    sources: dict[str, Seen], authority: dict[str, str]
) -> None:
    assert merge(sources).authority == authority


@pytest.mark.parametrize("source", ["mesos", "framework", "docker"])
def test_the_end_that_any_source_has_seen_is_the_end(source: str) -> None:
    seen = {"mesos": look(MESOS), "framework": look(FRAMEWORK), "docker": look(DOCKER)}
    seen[source] = look(ended=("t1",))
    truth = merge(seen)
    assert "t1" in truth.ended
    assert not truth.instances


def test_any_source_that_sees_it_drain_is_believed() -> None:
    truth = merge({"mesos": look(MESOS), "framework": look(replace(FRAMEWORK, draining=True))})
    assert truth.instances["t1"].draining


def test_a_task_that_drains_is_put_out_of_rotation_though_its_app_is_gone_from_the_framework_already() -> None:
    gone = Seen(Look({}, draining=frozenset({"t1", "unknown"}), frameworks=frozenset({"f"})))
    seen = {"mesos": look(MESOS), "framework": gone}
    (one,) = merge(seen).instances.values()
    judgement = judge(one, seen, NEW, Patience())
    assert (judgement.verdict, judgement.drain) == (Verdict.HOLD, True)


@given(st.lists(st.sampled_from(Health), min_size=1, max_size=3))
def test_the_worst_opinion_on_health_counts(opinions: list[Health]) -> None:
    names = ("mesos", "framework", "docker")
    truth = merge({name: look(replace(MESOS, health=health)) for name, health in zip(names, opinions, strict=False)})
    assert truth.instances["t1"].health == max(opinions)


def verdict(instance: Instance, age: Age = NEW, framework: Seen | None = None) -> Verdict:
    seen = {"mesos": look(instance)} | ({"framework": framework} if framework else {})
    return judge(merge(seen).instances[instance.key], seen, age, Patience()).verdict


@pytest.mark.parametrize(
    ("change", "age", "expected"),
    [
        ({}, NEW, Verdict.WANTED),
        ({"health": Health.HEALTHY}, NEW, Verdict.WANTED),
        ({"health": Health.UNKNOWN}, NEW, Verdict.HOLD),
        ({"health": Health.UNHEALTHY}, NEW, Verdict.REMOVE),
        ({"phase": Phase.STARTING}, NEW, Verdict.HOLD),
        ({"phase": Phase.UNREACHABLE}, NEW, Verdict.WAIT),
        ({"phase": Phase.UNREACHABLE}, OLD, Verdict.REMOVE),
        ({"draining": True}, NEW, Verdict.HOLD),
        ({"draining": True, "health": Health.UNHEALTHY}, NEW, Verdict.HOLD),
        ({"draining": True, "phase": Phase.UNREACHABLE}, OLD, Verdict.HOLD),
    ],
)
def test_verdicts_of_tasks(change: dict[str, object], age: Age, expected: Verdict) -> None:
    assert verdict(replace(MESOS, **change), age) is expected  # type: ignore[arg-type]


def test_a_container_that_has_failed_keeps_what_it_has_where_that_is_asked_for() -> None:
    failed = replace(CONTAINER, phase=Phase.FAILED)
    assert judge(failed, {"docker": look(failed)}, NEW, Patience()).verdict is Verdict.HOLD


def test_containers_stay_registered_whatever_their_health_is() -> None:
    for health in Health:
        ill = replace(CONTAINER, health=health)
        assert judge(ill, {"docker": look(ill)}, NEW, Patience()).verdict is Verdict.WANTED


@pytest.mark.parametrize(
    ("framework", "age", "expected"),
    [
        (look(FRAMEWORK), NEW, Verdict.WANTED),
        (look(), NEW, Verdict.WAIT),
        (look(), OLD, Verdict.NEW_ONLY),
        (Seen(), NEW, Verdict.WAIT),
        (Seen(failing="503"), OLD, Verdict.NEW_ONLY),
        (Seen(look(FRAMEWORK).look, failing="503"), NEW, Verdict.WANTED),
        (look(frameworks=("another",)), NEW, Verdict.WANTED),
        (look(frameworks=()), NEW, Verdict.WAIT),
    ],
)
def test_a_task_waits_for_the_framework_s_word_for_a_while(framework: Seen, age: Age, expected: Verdict) -> None:
    assert verdict(MESOS, age, framework) is expected


STARTED_HELD = replace(MESOS, labels={"DROMOS_HELD": "true"})


@pytest.mark.parametrize(
    ("task", "framework", "expected"),
    [
        (MESOS, look(replace(FRAMEWORK, held=True)), Verdict.HELD),
        (MESOS, look(replace(FRAMEWORK, held=False)), Verdict.WANTED),
        (STARTED_HELD, look(replace(FRAMEWORK, held=True)), Verdict.HELD),
        (STARTED_HELD, look(replace(FRAMEWORK, held=False)), Verdict.WANTED),
        (STARTED_HELD, Seen(), Verdict.HELD),  # the framework has never answered this registrator
        (STARTED_HELD, Seen(failing="connection refused"), Verdict.HELD),
        (STARTED_HELD, look(), Verdict.HELD),
        (STARTED_HELD, Seen(look(replace(FRAMEWORK, held=False)).look, failing="503"), Verdict.WANTED),
        (STARTED_HELD, Seen(look(replace(FRAMEWORK, held=True)).look, failing="503"), Verdict.HELD),
        (STARTED_HELD, None, Verdict.WANTED),  # nobody is configured who could ever release it
    ],
)
def test_a_task_that_was_started_held_is_held_until_the_framework_says_otherwise(
    task: Instance, framework: Seen | None, expected: Verdict
) -> None:
    for age in (NEW, OLD):
        assert verdict(task, age, framework) is expected


BLUE_GREEN = {"DROMOS_DEPLOY_STRATEGY": "blue-green"}


@pytest.mark.parametrize(
    ("task", "sources", "doubt"),
    [
        (STARTED_HELD, {"mesos"}, "was started to wait"),
        (STARTED_HELD, {"mesos", "docker"}, "was started to wait"),
        (STARTED_HELD, {"mesos", "framework"}, ""),
        (replace(MESOS, labels=BLUE_GREEN), {"mesos"}, ""),  # Mesos' labels would say so
        (replace(DOCKER, labels=BLUE_GREEN), {"docker"}, "may wait"),
        (replace(DOCKER, labels={"DROMOS_DEPLOY_STRATEGY": "canary"}), {"docker"}, ""),
        (DOCKER, {"docker"}, ""),
    ],
)
def test_where_nobody_could_tell_of_a_go_the_task_is_registered_and_the_doubt_is_told(
    task: Instance, sources: set[str], doubt: str
) -> None:
    word = replace(FRAMEWORK, held=False)
    seen = {name: look(word if name == "framework" else task) for name in sources}
    judged = judge(merge(seen).instances["t1"], seen, OLD, Patience())
    assert judged.verdict is Verdict.WANTED
    assert judged.doubt.startswith(doubt)
    assert bool(judged.doubt) is bool(doubt)


def test_a_held_task_that_is_not_well_or_drains_is_what_any_other_would_be() -> None:
    held = look(replace(FRAMEWORK, held=True))
    for change, expected in (
        ({"health": Health.UNHEALTHY}, Verdict.REMOVE),
        ({"phase": Phase.STARTING}, Verdict.HOLD),
        ({"draining": True}, Verdict.HOLD),
    ):
        assert verdict(replace(MESOS, **change), NEW, held) is expected  # type: ignore[arg-type]
