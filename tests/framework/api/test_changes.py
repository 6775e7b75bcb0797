"""Edits of what is declared: groups, service ports, and the rules that hold for all apps together."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.api import changes
from framework.api.changes import DraftEdit
from framework.api.errors import ApiError, ConflictError, ForbiddenError, InvalidObjectError, NotFoundError
from framework.api.forms import app_form, group_form, pod_form
from framework.api.forms.app_form import Defaults
from framework.api.forms.service_ports import ServicePorts
from framework.model.change import Change
from framework.model.group import Declared, Group
from framework.model.values import FrozenMap

DEFAULTS = Defaults()
PORTS = range(10000, 10010)
EMPTY = Declared(groups=FrozenMap({"/": Group("/")}))


def app(app_id: str, **fields: Any) -> Any:
    return app_form.new_app({"id": app_id, "cmd": "x", "ports": [], **fields}, DEFAULTS)


def declared(*apps: Any) -> Declared:
    return Change(apps={a.id: a for a in apps}).applied_to(EMPTY)


def after(before: Declared, draft: DraftEdit, defaults: Defaults = DEFAULTS) -> Declared:
    return changes.complete(draft, defaults, ServicePorts(PORTS))(before).applied_to(before)


def put(*apps: Any) -> DraftEdit:
    return lambda _declared, _defaults: Change(apps={a.id: a for a in apps})


def group(document: dict[str, Any], group_id: str = "/g") -> DraftEdit:
    return group_form.update(group_form.read(document), group_id)


def errors_of(before: Declared, draft: DraftEdit) -> dict[str, list[str]]:
    with pytest.raises(InvalidObjectError) as caught:
        after(before, draft)
    return {item["path"]: item["errors"] for item in caught.value.body["details"]}


# --- service ports


def test_a_port_0_gets_a_number_that_no_other_app_has() -> None:
    one = after(EMPTY, put(app("/a", ports=[0, 10001])))
    two = after(one, put(app("/b", ports=[0, 0])))
    assert one.apps["/a"].service_ports == (10000, 10001)
    assert two.apps["/b"].service_ports == (10002, 10003)


def test_apps_of_one_change_get_different_numbers() -> None:
    both = after(EMPTY, put(app("/a", ports=[0]), app("/b", ports=[0, 10000])))
    assert both.apps["/a"].service_ports == (10001,)
    assert both.apps["/b"].service_ports == (10002, 10000)


def test_numbers_are_kept_over_updates_and_free_again_after_the_end() -> None:
    before = after(EMPTY, put(app("/a", ports=[0, 0])))
    updated = after(before, put(app("/a", ports=[0, 0], instances=3)))
    assert updated.apps["/a"].service_ports == before.apps["/a"].service_ports
    gone = after(updated, lambda _d, _s: Change(apps={"/a": None}))
    assert after(gone, put(app("/b", ports=[0]))).apps["/b"].service_ports == (10000,)


def test_port_mappings_get_numbers_too() -> None:
    bridged = app("/a", networks=[{"mode": "container/bridge"}], container={"docker": {"image": "x"}, "portMappings": [{"containerPort": 80}, {"containerPort": 81, "servicePort": 9000}]})  # fmt: skip  # noqa: E501
    assert after(EMPTY, put(bridged)).apps["/a"].service_ports == (10000, 9000)


def test_when_the_range_is_used_up_the_answer_says_so() -> None:
    with pytest.raises(ForbiddenError, match="no service port is free in 10000-10009"):
        after(EMPTY, put(app("/a", ports=[0] * 11)))


@given(st.lists(st.lists(st.sampled_from([0, 0, 10000, 10003]), max_size=2, unique=False), max_size=4))
def test_service_ports_that_were_given_out_are_unique(wanted: list[list[int]]) -> None:
    now = EMPTY
    for index, ports in enumerate(wanted):
        if len({p for p in ports if p}) == len([p for p in ports if p]):
            now = after(now, put(app(f"/a{index}", ports=ports)))
            assert all(
                list(now.apps[f"/a{index}"].service_ports).count(port) == 1
                for port in now.apps[f"/a{index}"].service_ports
            )


def test_numbers_stay_right_while_apps_come_change_and_go() -> None:
    ports = ServicePorts(PORTS)
    now = EMPTY
    steps = [put(app("/a", ports=[0, 0])), put(app("/b", ports=[10002])), put(app("/a", ports=[0])), lambda _d, _s: Change(apps={"/b": None}), put(app("/c", ports=[0, 0]))]  # fmt: skip  # noqa: E501
    for draft in steps:
        now = changes.complete(draft, DEFAULTS, ports)(now).applied_to(now)
    assert now.apps["/a"].service_ports == (10000,)
    assert now.apps["/c"].service_ports == (10001, 10002)


# --- rules of the whole


def test_an_app_may_not_have_the_id_of_a_group_nor_live_in_an_app() -> None:
    before = declared(app("/g/a"))
    assert errors_of(before, put(app("/g"))) == {"/": ["Groups and Applications may not have the same identifier: /g"]}
    assert errors_of(before, put(app("/g/a/b"))) == {
        "/": ["Groups and Applications may not have the same identifier: /g/a"]
    }


def test_an_app_may_not_have_the_id_of_a_pod() -> None:
    pod = pod_form.new_pod({"id": "/p", "containers": [{"name": "c", "exec": {"command": {"shell": "x"}}}]}, DEFAULTS)
    before = Change(pods={"/p": pod}).applied_to(EMPTY)
    assert errors_of(before, put(app("/p"))) == {"/": ["Applications and Pods may not share the same id: /p"]}


def test_an_empty_group_makes_room_for_an_app() -> None:
    before = after(EMPTY, group({}))
    assert "/g" in before.groups
    now = after(before, put(app("/g")))
    assert "/g" in now.apps and "/g" not in now.groups


@pytest.mark.parametrize(
    "apps",
    [
        [app("/a", dependencies=["/a"])],
        [app("/a", dependencies=["/b"]), app("/b", dependencies=["/a"])],
        [app("/g/a", dependencies=["/h"]), app("/h/b", dependencies=["/g"])],
        [app("/g/a", dependencies=["/g"])],
    ],
)
def test_dependencies_may_not_go_in_a_circle(apps: list[Any]) -> None:
    assert errors_of(EMPTY, put(*apps)) == {"/": ["Dependency graph has cyclic dependencies."]}


def test_groups_may_not_depend_on_each_other_in_a_circle() -> None:
    before = declared(app("/g/a"), app("/h/b"))
    one = after(before, group({"dependencies": ["/h"]}, "/g"))
    assert errors_of(one, group({"dependencies": ["/g"]}, "/h")) == {"/": ["Dependency graph has cyclic dependencies."]}


def test_dependencies_that_do_not_exist_or_meet_again_are_no_circle() -> None:
    now = after(EMPTY, put(app("/a", dependencies=["/b", "/c"]), app("/b", dependencies=["/d"]), app("/c", dependencies=["/d", "/nope"]), app("/d")))  # fmt: skip  # noqa: E501
    assert set(now.apps) == {"/a", "/b", "/c", "/d"}


def test_a_resident_apps_update_may_change_neither_volumes_nor_resources() -> None:
    container = {"type": "MESOS", "volumes": [{"containerPath": "d", "persistent": {"size": 10}}]}
    resident = app("/r", container=container)
    before = declared(resident)
    larger = {"type": "MESOS", "volumes": [{"containerPath": "d", "persistent": {"size": 11}}]}
    assert errors_of(before, put(app("/r", container=larger))) == {"/": ["Persistent volumes can not be changed!"]}
    assert errors_of(before, put(replace(resident, cpus=2.0))) == {
        "/": ["Resident Tasks may not change resource requirements!"]
    }
    assert after(before, put(replace(resident, instances=3, cmd="y"))).apps["/r"].instances == 3


# --- groups


def test_a_group_declares_all_that_is_nested_in_it() -> None:
    now = after(EMPTY, group({"apps": [{"id": "a", "cmd": "x"}], "dependencies": ["../other"], "groups": [{"id": "h", "apps": [{"id": "b", "cmd": "x", "dependencies": ["../a"]}]}]}))  # fmt: skip  # noqa: E501
    assert set(now.apps) == {"/g/a", "/g/h/b"}
    assert set(now.groups) == {"/", "/g", "/g/h"}
    assert now.groups["/g"].dependencies == ("/other",)
    assert now.apps["/g/h/b"].dependencies == ("/g/a",)


def test_what_a_group_gives_replaces_and_what_it_does_not_give_stays() -> None:
    before = declared(app("/g/a"), app("/g/b"), app("/g/h/c"), app("/g/i/d"), app("/z"))
    assert set(after(before, group({"apps": [{"id": "b", "cmd": "y"}]})).apps) == {"/g/b", "/g/h/c", "/g/i/d", "/z"}
    now = after(before, group({"groups": [{"id": "h"}]}))
    assert set(now.apps) == {"/g/a", "/g/b", "/g/h/c", "/z"}
    assert set(now.groups) == {"/", "/g", "/g/h"}
    assert after(before, group({})) == before


def test_a_group_that_exists_is_not_created_again() -> None:
    before = declared(app("/g/a"), app("/x"))
    with pytest.raises(ConflictError, match="Group /g is already created"):
        after(before, group_form.creation({}, "/g"))
    with pytest.raises(ConflictError, match="An app with the path /x already exists"):
        after(before, group_form.creation({}, "/x"))


def test_all_errors_of_a_group_are_told_with_their_paths() -> None:
    errors = errors_of(EMPTY, group({"apps": [{"id": "a"}], "groups": [{"id": "h", "apps": [{"id": "b", "cmd": "x", "cpus": -1}, {"id": "/z", "cmd": "x"}], "enforceRole": True}]}))  # fmt: skip  # noqa: E501
    assert set(errors) == {
        "/apps(0)",
        "/groups(0)/apps(0)/cpus",
        "/groups(0)/apps(1)/id",
        "/groups(0)/enforceRole",
    }


@pytest.mark.parametrize(
    ("document", "paths"),
    [
        ({"version": "2020-01-01T00:00:00Z", "apps": []}, ["/version"]),
        ({"scaleBy": 2, "apps": []}, ["/scaleBy"]),
        ({"scaleBy": 2, "version": "x"}, ["/version", "/scaleBy"]),
        ({"scaleBy": -1}, ["/scaleBy"]),
    ],
)
def test_version_and_scale_by_stand_alone(document: dict[str, Any], paths: list[str]) -> None:
    with pytest.raises(InvalidObjectError) as caught:
        group_form.read(document)
    assert [item["path"] for item in caught.value.body["details"]] == paths


@pytest.mark.parametrize(("factor", "count"), [(2, 6), (0.5, 2), (0, 0), (1.1, 4), (1, 3)])
def test_scale_by_rounds_up(factor: float, count: int) -> None:
    before = declared(app("/g/h/a", instances=3), app("/z", instances=3))
    now = after(before, group({"scaleBy": factor}))
    assert now.apps["/g/h/a"].instances == count
    assert now.apps["/z"].instances == 3


def test_scale_by_is_exact_where_a_float_is_not() -> None:
    assert after(declared(app("/g/a", instances=10)), group({"scaleBy": 1.1})).apps["/g/a"].instances == 11


@pytest.mark.parametrize("factor", [1e300, 1e9])
def test_scale_by_does_not_go_beyond_what_an_app_may_have(factor: float) -> None:
    assert errors_of(declared(app("/g/a")), group({"scaleBy": factor})) == {
        "/scaleBy": ["/g/a may have 100000 instances at most"]
    }
    single = app("/g/s", labels={"MARATHON_SINGLE_INSTANCE_APP": "true"})
    assert errors_of(declared(single), group({"scaleBy": 2})) == {"/scaleBy": ["/g/s may have 1 instances at most"]}


def test_a_group_goes_with_all_in_it() -> None:
    before = declared(app("/g/a"), app("/g/h/b"), app("/gg"))
    now = after(before, group_form.removal("/g"))
    assert set(now.apps) == {"/gg"} and set(now.groups) == {"/"}
    assert set(after(before, group_form.removal("/")).apps) == set()
    with pytest.raises(NotFoundError, match="Group '/nope' does not exist"):
        after(before, group_form.removal("/nope"))


def test_a_group_rolls_back_to_what_it_was() -> None:
    former = declared(app("/g/a"), app("/g/h/b")).below("/g")
    before = declared(app("/g/a", cpus=2), app("/g/c"), app("/z"))
    now = after(before, group_form.roll_back("/g", "v", former))
    assert set(now.apps) == {"/g/a", "/g/h/b", "/z"} and now.apps["/g/a"].cpus == 1
    with pytest.raises(NotFoundError, match="Group '/g' does not exist in version v"):
        after(before, group_form.roll_back("/g", "v", None))


def test_a_top_level_group_may_enforce_its_role() -> None:
    before = after(declared(app("/prod/a")), group_form.enforcement("/prod", {"enforceRole": True}))
    assert before.groups["/prod"].enforce_role is True

    def create(_declared: Declared, defaults: Defaults) -> Change:
        return Change(apps={"/prod/b": app_form.new_app({"id": "/prod/b", "cmd": "x"}, defaults)})

    assert after(before, create).apps["/prod/b"].role == "prod"
    with pytest.raises(ApiError) as caught:
        after(before, group({"apps": [{"id": "b", "cmd": "x", "role": "*"}]}, "/prod"))
    assert caught.value.body["details"] == [{"path": "/apps(0)/role", "errors": ["got *, expected one of: [prod]"]}]
    with pytest.raises(InvalidObjectError):
        after(declared(app("/a/b/c")), group_form.enforcement("/a/b", {"enforceRole": True}))


def test_a_new_group_that_enforces_its_role_does_so_for_its_own_apps() -> None:
    now = after(EMPTY, group({"enforceRole": True, "apps": [{"id": "b", "cmd": "x"}]}, "/prod"))
    assert now.apps["/prod/b"].role == "prod"


def test_groups_nest_to_a_bounded_depth() -> None:
    document: dict[str, Any] = {"id": "x"}
    for _ in range(40):
        document = {"id": "x", "groups": [document]}
    with pytest.raises(InvalidObjectError) as caught:
        after(EMPTY, group(document))
    assert "nested more than 32 deep" in str(caught.value.body["details"])


def test_an_edit_is_worked_out_anew_when_something_was_declared_in_between() -> None:
    edit = changes.complete(put(app("/b", ports=[0])), DEFAULTS, ServicePorts(PORTS))
    alone = edit(EMPTY)
    assert edit(EMPTY) is alone
    crowded = declared(app("/a", ports=[10000]))
    assert edit(crowded).apps["/b"].service_ports == (10001,)  # type: ignore[union-attr]
