"""What the API keeps of an autoscaler's work, on a real engine."""

from typing import Any

import pytest

from tests.support.memory_cluster import Framework

DEFINITION: dict[str, Any] = {"cmd": "sleep 1", "instances": 1, "labels": {"DROMOS_AUTOSCALE_TARGET": "20"}}


async def scaled(framework: Framework, *, definition: dict[str, Any] = DEFINITION, to: int = 4) -> None:
    await framework.app("/g/web", **definition)
    await framework.call("PUT", "/v2/apps/g/web", {"instances": to})
    await framework.settled()


async def instances(framework: Framework) -> int:
    return int((await framework.get("/v2/apps/g/web"))["app"]["instances"])


@pytest.mark.parametrize("query", ["", "?partialUpdate=false"])
async def test_a_definition_that_is_sent_again_keeps_the_scaled_count(framework: Framework, query: str) -> None:
    await scaled(framework)
    again = await framework.call("PUT", f"/v2/apps/g/web{query}", {"id": "/g/web", **DEFINITION, "cmd": "sleep 2"})
    assert again.status == 200
    await framework.settled()
    app = (await framework.get("/v2/apps/g/web"))["app"]
    assert (app["instances"], app["cmd"], app["tasksRunning"]) == (4, "sleep 2", 4)


async def test_a_group_and_a_list_of_apps_that_are_sent_again_keep_it_too(framework: Framework) -> None:
    await scaled(framework)
    group = {"id": "/g", "apps": [{"id": "web", **DEFINITION}]}
    assert (await framework.call("PUT", "/v2/groups/g", group)).status == 200
    assert await instances(framework) == 4
    await framework.settled()
    assert (await framework.call("PUT", "/v2/apps", [{"id": "/g/web", **DEFINITION}])).status == 200
    assert await instances(framework) == 4


async def test_an_order_is_followed(framework: Framework) -> None:
    await scaled(framework)
    await framework.call("PUT", "/v2/apps/g/web", {"instances": 2})
    assert await instances(framework) == 2
    await framework.settled()
    await framework.call("PUT", "/v2/apps/g/web", {**DEFINITION, "instances": 0})
    assert await instances(framework) == 0, "suspended"
    await framework.settled()
    await framework.call("PUT", "/v2/apps/g/web", DEFINITION)
    assert await instances(framework) == 1, "and resumed"


@pytest.mark.parametrize(
    ("labels", "kept"),
    [
        ({}, False),
        ({"DROMOS_AUTOSCALE_MAX": "9"}, False),
        ({"DROMOS_AUTOSCALE_CPU": "0.7"}, True),
        ({"DROMOS_AUTOSCALE_KEEP": "true"}, True),
        ({"DROMOS_AUTOSCALE_TARGET": "20", "DROMOS_AUTOSCALE_KEEP": "false"}, False),
    ],
)
async def test_labels_say_whether_the_count_is_an_autoscalers(
    framework: Framework, labels: dict[str, str], kept: bool
) -> None:
    definition = {**DEFINITION, "labels": labels}
    await scaled(framework, definition=definition)
    await framework.call("PUT", "/v2/apps/g/web", definition)
    assert await instances(framework) == (4 if kept else 1)


async def test_a_change_that_was_decided_on_another_version_is_refused(framework: Framework) -> None:
    await scaled(framework)
    version = (await framework.get("/v2/apps/g/web"))["app"]["version"]
    stale = {"If-Match": '"2020-01-01T00:00:00.000Z"'}
    refused = await framework.call("PUT", "/v2/apps/g/web", {"instances": 7}, headers=stale)
    assert refused.status == 412 and version in refused.json["message"]
    assert await instances(framework) == 4
    good = await framework.call("PUT", "/v2/apps/g/web", {"instances": 7}, headers={"If-Match": f'"{version}"'})
    assert good.status == 200 and await instances(framework) == 7
    absent = await framework.call("PUT", "/v2/apps/nothing", DEFINITION, headers={"If-Match": "*"})
    assert absent.status == 412
