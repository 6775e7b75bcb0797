"""Ids, times, versions, and what counts as a change."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.model import path_id, timestamp
from framework.model.app import App, VersionInfo
from framework.model.container import Container, DockerContainer
from framework.model.group import Declared, Group
from framework.model.network import Network, PortDefinition, PortMapping
from framework.model.pod import Pod, PodContainer
from framework.model.resources import ExecutorResources, Resources
from framework.model.run_spec import stamped
from framework.model.values import FrozenMap
from framework.model.volume import PersistentInfo, PersistentVolume


@pytest.mark.parametrize(
    ("text", "base", "absolute"),
    [
        ("/a/b", "/", "/a/b"),
        ("a", "/", "/a"),
        ("a/b", "/prod", "/prod/a/b"),
        ("//demo", "/", "/demo"),
        ("/demo/", "/", "/demo"),
        ("../db", "/prod/web", "/prod/db"),
        ("./db", "/prod", "/prod/db"),
        ("../../..", "/prod", "/"),
        ("", "/prod", "/prod"),
    ],
)
def test_ids_are_made_absolute(text: str, base: str, absolute: str) -> None:
    assert path_id.canonical(text, base) == absolute


@given(st.lists(st.sampled_from(["a", "b", "..", ".", ""]), max_size=6).map("/".join))
def test_a_canonical_id_stays_as_it_is(text: str) -> None:
    once = path_id.canonical(text)
    assert path_id.canonical(once) == once
    assert once.startswith("/") and "//" not in once


def test_ids_know_their_groups() -> None:
    assert path_id.ancestors("/a/b/c") == ["/a/b", "/a", "/"]
    assert path_id.ancestors("/") == []
    assert path_id.is_below("/a/b", "/a") and path_id.is_below("/a", "/")
    assert not path_id.is_below("/ab", "/a") and not path_id.is_below("/a", "/a") and not path_id.is_below("/", "/")
    assert path_id.top_level("/prod/x/y") == "prod" and path_id.top_level("/x") is None


@given(st.floats(0, 4e9), st.floats(0, 4e9))
def test_times_sort_as_their_texts_do(one: float, other: float) -> None:
    a, b = timestamp.to_text(one), timestamp.to_text(other)
    assert abs(timestamp.to_epoch(a) - one) <= 0.00051
    assert (a <= b) if one <= other else (a >= b)
    assert timestamp.to_text(timestamp.to_epoch(a)) == a


@pytest.mark.parametrize(("moment", "text"), [(0.5, "1970-01-01T00:00:00.500Z"), (59.9999, "1970-01-01T00:01:00.000Z")])
def test_times_are_written_with_milliseconds(moment: float, text: str) -> None:
    assert timestamp.to_text(moment) == text


BEFORE = App("/a", cmd="x", version="1", version_info=VersionInfo("1", "1"))


@pytest.mark.parametrize(
    ("app", "version", "scaled", "changed"),
    [
        (BEFORE, "1", "1", "1"),
        (replace(BEFORE, instances=3), "2", "2", "1"),
        (replace(BEFORE, cmd="y"), "2", "1", "2"),
        (replace(BEFORE, cmd="y", instances=3), "2", "2", "2"),
        (replace(BEFORE, labels=FrozenMap(a="b")), "2", "1", "2"),
        (replace(BEFORE, version="", version_info=None), "1", "1", "1"),
    ],
)
def test_a_scale_and_a_change_move_their_own_times(app: App, version: str, scaled: str, changed: str) -> None:
    after = stamped(app, BEFORE, "2")
    assert (after.version, after.version_info) == (version, VersionInfo(scaled, changed))


def test_a_new_app_and_a_restarted_one_get_new_times() -> None:
    assert stamped(App("/a"), None, "2").version_info == VersionInfo("2", "2")
    assert stamped(BEFORE, BEFORE, "2", restart=True).version_info == VersionInfo("1", "2")


def test_ports_are_the_hosts_or_the_containers() -> None:
    definitions, mappings = (PortDefinition(80),), (PortMapping(8080, 0, 10001),)
    container = Container(docker=DockerContainer("x"), port_mappings=mappings)
    assert App("/a", port_definitions=definitions, container=container).service_ports == (80,)
    assert App("/a", networks=(Network("container/bridge"),), container=container).service_ports == (10001,)


def test_an_app_with_persistent_volumes_is_resident() -> None:
    assert App("/a", container=Container(volumes=(PersistentVolume("d", PersistentInfo(1)),))).is_resident
    assert not App("/a", container=Container()).is_resident


def test_a_pod_takes_what_its_containers_and_its_executor_take() -> None:
    pod = Pod(
        "/p",
        (PodContainer("a", Resources(0.1, 32)), PodContainer("b", Resources(0.2, 32, gpus=1))),
        executor_resources=ExecutorResources(0.1, 32, 10),
    )
    assert pod.resources == Resources(0.4, 96, 10, 1)


def test_the_part_below_a_group_and_the_rest_make_the_whole() -> None:
    apps = FrozenMap({i: App(i) for i in ("/a/x", "/a/b/y", "/ab", "/z")})
    whole = Declared(apps).with_enclosing_groups()
    assert set(whole.groups) == {"/", "/a", "/a/b"}
    part, rest = whole.below("/a"), whole.without("/a")
    assert set(part.apps) == {"/a/x", "/a/b/y"} and set(part.groups) == {"/a", "/a/b"}
    assert set(rest.apps) == {"/ab", "/z"} and set(rest.groups) == {"/"}
    assert whole.groups["/a"] == Group("/a")
