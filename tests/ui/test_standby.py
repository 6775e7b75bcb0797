"""On a node that does not lead, and when that one becomes the leader: the page works, and goes on, all the same."""

from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, expect

from tests.support.browser import Ui, context_of
from tests.support.framework import Framework
from tests.support.mesos import running_embedded_mesos
from tests.support.waiting import eventually
from tests.support.zookeeper import Ensemble

pytestmark = pytest.mark.xdist_group("zookeeper")


def test_the_page_of_a_standby_is_live_and_survives_the_leaders_death(
    browser: Browser, ensemble: Ensemble, tmp_path: Path
) -> None:
    with running_embedded_mesos(tmp_path / "mesos", simulate=True) as mesos:
        flags = {"framework_name": "standby-ui", "zk": ensemble.address()}
        nodes = [Framework(tmp_path / name, mesos.address, dict(flags)) for name in ("one", "other")]
        try:
            for node in nodes:
                node.launch()

            def agreed() -> str | None:
                """A leader that both name: the first one may lose its session while the machine is busy."""
                one, other = (leader_by(node) for node in nodes)
                return one if one == other else None

            first = eventually(agreed, 90)
            [leader] = [node for node in nodes if first.endswith(f":{node.port}")]
            [standby] = [node for node in nodes if node is not leader]
            with context_of(browser, 60_000) as context:
                ui = Ui(context.new_page(), standby.url)
                page = ui.open("apps", view="flat")
                page.evaluate("window.stillHere = true")
                create(leader, "/before")
                expect(page.get_by_role("link", name="before", exact=True)).to_be_visible()
                leader.kill()
                expect(page.locator(".connection:not(.live)")).to_be_visible()
                eventually(lambda: leader_by(standby).endswith(f":{standby.port}"), 90)
                create(standby, "/after")
                expect(page.get_by_role("link", name="after", exact=True)).to_be_visible()
                expect(page.get_by_role("link", name="before", exact=True)).to_be_visible()
                expect(page.locator(".connection.live")).to_be_visible()
                assert page.evaluate("window.stillHere === true")
                assert ui.wrongs == []
        finally:
            for node in nodes:
                if node.process is not None:
                    node.kill()


def leader_by(framework: Framework) -> str:
    """`host:port` of the leader, as this node knows it."""
    return str(requests.get(f"{framework.url}/v2/leader", timeout=30).json()["leader"])


def create(framework: Framework, app_id: str) -> None:
    def created() -> bool:
        body = {"id": app_id, "cmd": "x", "instances": 0}
        return requests.post(f"{framework.url}/v2/apps", json=body, timeout=30).status_code in (201, 409)

    eventually(created, 60)
