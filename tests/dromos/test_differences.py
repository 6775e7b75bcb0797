from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dromos.differences import differences, spec_diff

scalars = st.none() | st.booleans() | st.integers(0, 3) | st.text(max_size=2)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    max_leaves=8,
)


@given(documents)
def test_nothing_differs_from_itself(document: Any):
    assert list(differences(document, document)) == []


@given(documents, documents)
def test_what_differs_one_way_differs_the_other_way(one: Any, other: Any):
    there = {(d.path, repr(d.before), repr(d.after)) for d in differences(one, other)}
    back = {(d.path, repr(d.after), repr(d.before)) for d in differences(other, one)}
    assert there == back


def test_defaults_and_old_spellings_are_no_difference():
    running = {
        "id": "/a",
        "cmd": "x",
        "version": "1",
        "tasksRunning": 3,
        "mem": 128,
        "fetch": [{"uri": "http://x/y.tgz"}],
    }
    assert spec_diff("app", "/a", running, {"cmd": "x", "uris": ["http://x/y.tgz"], "cpus": 1.0}).change == "unchanged"


def test_a_port_that_the_server_chose_is_no_difference():
    running = {"id": "/a", "cmd": "x", "portDefinitions": [{"port": 10001, "protocol": "tcp"}]}
    assert spec_diff("app", "/a", running, {"cmd": "x", "portDefinitions": [{"port": 0}]}).change == "unchanged"
    changed = spec_diff("app", "/a", running, {"cmd": "x", "portDefinitions": [{"port": 10002}]})
    assert [(d.path, d.before, d.after) for d in changed.differences] == [("/portDefinitions(0)/port", 10001, 10002)]


def test_what_a_foreign_marathon_knows_and_this_one_does_not_is_still_compared():
    found = spec_diff("app", "/a", {"id": "/a", "cmd": "x", "cpus": "a lot", "novelty": 1}, {"cmd": "x"})
    assert found.change == "changed" and any(d.path == "/novelty" for d in found.differences)


def test_a_pod_is_compared_without_what_the_server_adds():
    pod = {
        "containers": [{"name": "a", "exec": {"command": {"shell": "x"}}, "resources": {"cpus": 1, "mem": 32}}],
        "scaling": {"kind": "fixed", "instances": 2},
    }
    assert spec_diff("pod", "/p", {**pod, "id": "/p", "version": "1"}, pod).change == "unchanged"
    scaled = spec_diff("pod", "/p", pod, pod | {"scaling": {"kind": "fixed", "instances": 3}})
    assert scaled.effect == "scaled from 2 to 3; none is restarted"
