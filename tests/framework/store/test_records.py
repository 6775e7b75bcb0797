"""Entries of the store: what is written is what is read."""

from hypothesis import given
from hypothesis import strategies as st

from framework.engine import records
from framework.engine.records import HistoryEntry
from framework.model.app import App, VersionInfo
from framework.model.deployment import Deployment, Progress, SpecChange, Step, StepAction
from framework.model.group import Group
from framework.model.instance import Agent, Condition, Goal, Instance, IpAddress, Task, TaskFailure
from framework.model.pod import Pod, PodContainer
from framework.model.values import FrozenMap

texts, times = st.text(max_size=20), st.floats(0, 4e9)
maybe = st.one_of
agents = st.builds(
    Agent, texts, texts, st.lists(st.tuples(texts, texts)).map(tuple), maybe(st.none(), texts), maybe(st.none(), texts)
)
tasks = st.builds(
    Task,
    id=texts,
    container=maybe(st.none(), texts),
    message=maybe(st.none(), texts),
    staged_at=times,
    started_at=maybe(st.none(), times),
    healthy=st.sampled_from([None, True, False]),
    host_ports=st.lists(st.integers(1, 65535), max_size=3).map(tuple),
    ip_addresses=st.lists(st.builds(IpAddress, texts, texts), max_size=2).map(tuple),
)
instances = st.builds(
    Instance,
    id=texts,
    spec_id=texts,
    spec_version=texts,
    config_version=texts,
    role=texts,
    agent=agents,
    tasks=st.lists(tasks, max_size=3).map(tuple),
    condition=st.sampled_from(Condition),
    goal=st.sampled_from(Goal),
    incarnation=st.integers(1, 9),
    checked=st.booleans(),
    healthy=st.sampled_from([None, True, False]),
    ready=st.booleans(),
    provisioned_at=times,
    since=times,
    active_since=maybe(st.none(), times),
    unreachable_since=maybe(st.none(), times),
    draining_since=maybe(st.none(), times),
    kill_reason=maybe(st.none(), texts),
    wipe=st.booleans(),
)


@given(instances)
def test_an_instance_is_read_as_it_was_written(instance: Instance) -> None:
    assert records.decode_instance(records.encode(records.INSTANCES, instance)) == instance


V1, V2 = "2020-01-01T00:00:00.000Z", "2020-01-02T00:00:00.000Z"
OLD = App("/a", cmd="x", version=V1, version_info=VersionInfo(V1, V1), labels=FrozenMap({"k": "v"}))
NEW = App("/a", cmd="y", version=V2, version_info=VersionInfo(V2, V2))
POD = Pod("/p", containers=(PodContainer("c"),), version=V2, version_info=VersionInfo(V2, V2))


def test_apps_and_pods_are_read_as_they_were_written() -> None:
    assert records.decode_spec(records.encode(records.SPECS, OLD)) == OLD
    assert records.decode_spec(records.encode(records.SPECS, POD)) == POD


def test_a_deployment_refers_to_specs_by_version_and_stays_small() -> None:
    deployment = Deployment(
        "d",
        V2,
        (
            Step((StepAction("start", "/p", True),)),
            Step((StepAction("restart", "/a"), StepAction("scale", "/p", True))),
        ),
        FrozenMap({"/a": SpecChange(OLD, NEW), "/p": SpecChange(None, POD)}),
        "/group",
        1,
        1.5,
        2.5,
        99.0,
        "rollback",
        "other",
        FrozenMap({"/a": Progress(3, 1, True)}),
    )
    data = records.encode(records.DEPLOYMENTS, deployment)
    assert len(data) < 600
    assert sorted(records.specs_of_deployment(data)) == [("/a", V1), ("/a", V2), ("/p", V2)]
    specs = {("/a", V1): OLD, ("/a", V2): NEW, ("/p", V2): POD}
    assert records.decode_deployment(data, specs) == deployment


def test_failures_and_history_are_read_as_they_were_written() -> None:
    failure = TaskFailure("/a", "t", "TASK_FAILED", "exit 3", "h", "a1", V1, 12.5)
    assert records.decode_failure(records.encode(records.FAILURES, failure)) == failure
    entry = HistoryEntry(V2, {"/a": (V1, None), "/p": (None, V2)}, {"/": (None, Group("/", version=V2))})
    assert records.decode_history(records.encode(records.HISTORY, entry)) == entry


def test_a_key_of_a_spec_is_taken_apart_again() -> None:
    assert records.split_spec_key(records.spec_key("/a@b", V1)) == ("/a@b", V1)
