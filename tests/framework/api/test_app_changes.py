# ruff: noqa: E501  a definition stays on one line
"""What a PUT or PATCH makes of an app that is there."""

from typing import Any

import pytest

from framework.api.errors import InvalidObjectError
from framework.api.forms import app_form
from framework.api.forms.app_form import Defaults
from framework.model.app import App
from framework.model.codec import to_json

DEFAULTS = Defaults()

WEB = app_form.new_app(
    {"id": "/web", "container": {"docker": {"image": "nginx"}, "portMappings": [{"containerPort": 80, "servicePort": 10001}]}, "networks": [{"mode": "container/bridge"}], "env": {"A": "1", "B": "2"}, "labels": {"x": "y"}, "instances": 2},
    DEFAULTS,
)  # fmt: skip


def changed(document: dict[str, Any], app: App = WEB) -> dict[str, Any]:
    return to_json(app_form.changed_app(app, document, DEFAULTS))


def test_a_change_replaces_the_fields_that_it_gives_as_a_whole() -> None:
    after = changed({"instances": 5, "env": {"C": "3"}})
    assert after == to_json(WEB) | {"instances": 5, "env": {"C": "3"}}


@pytest.mark.parametrize("document", [{}, {"id": "/web"}, {"instances": None}, {"instances": 2}])
def test_a_change_that_changes_nothing_leaves_the_same_app(document: dict[str, Any]) -> None:
    assert app_form.changed_app(WEB, document, DEFAULTS) == WEB


def test_a_change_of_the_network_takes_its_own_kind_of_ports() -> None:
    to_host = changed({"networks": [{"mode": "host"}]})
    assert to_host["portDefinitions"] == [{"port": 0, "protocol": "tcp", "name": "default", "labels": {}}]
    assert "portMappings" not in to_host["container"]
    back = changed(
        {"networks": [{"mode": "container/bridge"}]},
        app_form.changed_app(WEB, {"networks": [{"mode": "host"}]}, DEFAULTS),
    )
    assert "portDefinitions" not in back
    assert back["container"]["portMappings"][0]["hostPort"] == 0


def test_a_change_may_be_spelled_in_the_legacy_way() -> None:
    after = changed(
        {
            "uris": ["http://x/y.zip"],
            "container": {"docker": {"image": "b", "network": "BRIDGE", "portMappings": [{"containerPort": 81}]}},
        }
    )
    assert after["fetch"][0]["uri"] == "http://x/y.zip"
    assert after["container"]["portMappings"][0]["containerPort"] == 81


def test_a_change_that_breaks_a_rule_is_refused_with_its_path() -> None:
    with pytest.raises(InvalidObjectError) as caught:
        changed({"cpus": -1, "healthChecks": [{"portIndex": 3}]})
    assert {item["path"] for item in caught.value.body["details"]} == {"/cpus", "/healthChecks(0)"}


def test_a_version_may_only_be_combined_with_an_id() -> None:
    with pytest.raises(InvalidObjectError) as caught:
        changed({"version": "2020-01-01T00:00:00.000Z", "cpus": 1})
    assert caught.value.body["details"] == [
        {"path": "/", "errors": ["The 'version' field may only be combined with the 'id' field."]}
    ]


def test_a_stateless_app_that_gets_a_persistent_volume_is_replaced_in_place() -> None:
    app = app_form.new_app({"id": "/a", "cmd": "sleep 1"}, DEFAULTS)
    after = changed(
        {
            "container": {"type": "MESOS", "volumes": [{"containerPath": "d", "persistent": {"size": 1}}]},
            "unreachableStrategy": "disabled",
        },
        app,
    )
    assert after["upgradeStrategy"] == {"minimumHealthCapacity": 0.5, "maximumOverCapacity": 0}
