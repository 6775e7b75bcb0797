"""One instance and the whole of them: what they write, as they write it; their files; where they run."""

import re
from urllib.parse import quote

import pytest
import requests
from playwright.sync_api import expect

from tests.support.browser import Ui
from tests.support.platform import Platform
from tests.support.ui_apps import SCRIPT, WORKER, delete, put, unlocked
from tests.support.waiting import eventually

pytestmark = pytest.mark.xdist_group("ui")


def test_a_log_is_followed_live(ui: Ui, dromos: Platform) -> None:
    cmd = "echo begun; until [ -e go ]; do sleep 0.2; done; echo went on; echo complaint >&2; sleep 100000"
    put(dromos, {**WORKER, "id": "/talks", "cmd": cmd})
    task = eventually(lambda: [t for t in dromos.tasks("/talks") if t["state"] == "TASK_RUNNING"], 60)[0]["id"]
    page = ui.open("app", "talks")
    page.get_by_title(task).click()
    log = page.get_by_role("log", name="stdout")
    expect(log).to_contain_text("begun")
    [sandbox] = {path.parent.resolve() for path in dromos.state_dir.glob(f"mesos/**/{task}/runs/*/stdout")}
    (sandbox / "go").touch()
    expect(log).to_contain_text("went on")
    page.get_by_role("searchbox", name="Filter lines").fill("BEGUN")
    expect(log).not_to_contain_text("went on")
    page.get_by_role("link", name="stderr").click()
    expect(page.get_by_role("log", name="stderr")).to_contain_text("complaint")
    delete(dromos, "/talks")


def test_the_files_of_a_sandbox_are_walked_shown_and_downloaded(ui: Ui, dromos: Platform) -> None:
    task = dromos.tasks("/shop/web")[0]["id"]
    page = ui.open("instance", task, app="/shop/web", tab="files")
    page.get_by_role("link", name="www/").click()
    page.get_by_role("link", name="index.html").click()
    expect(page.get_by_role("log", name="www/index.html")).to_have_text("hello")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download www/index.html").click()
    assert saved.value.path().read_text() == "hello\n"
    assert saved.value.suggested_filename == "index.html"


def test_an_instance_tells_where_it_runs_and_is_killed_there(ui: Ui, dromos: Platform) -> None:
    put(dromos, {**WORKER, "id": "/killed-there"})
    task = eventually(lambda: [t for t in dromos.tasks("/killed-there") if t["state"] == "TASK_RUNNING"], 60)[0]
    unlocked(dromos, "/killed-there")
    page = ui.open("instance", task["id"], app="/killed-there")
    facts = page.locator(".facts")
    expect(facts).to_contain_text(task["host"])
    expect(facts.get_by_role("link", name=task["slaveId"])).to_be_visible()
    page.get_by_role("button", name="Kill and scale down").click()
    page.get_by_role("dialog").get_by_role("button", name="Kill and scale down").click()
    expect(page.get_by_text("This instance has ended")).to_be_visible()
    delete(dromos, "/killed-there")


def test_what_a_failed_instance_wrote_is_one_click_from_its_failure(ui: Ui) -> None:
    page = ui.open("app", "broken", tab="debug")
    expect(page.get_by_text("TASK_FAILED")).to_be_visible()
    expect(page.get_by_text(re.compile(r"tried again only in \d+ s"))).to_be_visible()
    page.get_by_role("link", name="stderr").click()
    expect(page.get_by_role("log", name="stderr")).to_contain_text("no luck")


def test_all_instances_are_searched(ui: Ui) -> None:
    page = ui.open("instances")
    rows = page.locator("tbody tr")
    expect(rows.filter(has_text="/shop/web")).to_have_count(2)
    page.get_by_role("searchbox", name="Filter by id").fill("shop worker")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("running")


def test_scripts_in_ids_labels_log_lines_and_file_names_have_no_effect(ui: Ui, dromos: Platform) -> None:
    task = dromos.tasks("/hostile")[0]["id"]
    page = ui.open("apps", view="flat")
    expect(page.get_by_role("row", name="hostile")).to_contain_text(f"say: {SCRIPT}")
    ui.go("apps", view="flat", text=SCRIPT, label=SCRIPT)
    expect(page.get_by_role("searchbox", name="Filter by name")).to_have_value(SCRIPT)
    for tab in ("configuration", "debug", "events"):
        ui.go("app", "hostile", tab=tab)
        expect(page.get_by_role("heading", level=1)).to_have_text("hostile")
    ui.go("app", "hostile", tab="configuration")
    expect(page.locator("pre.json")).to_contain_text(SCRIPT.replace('"', '\\"'))
    ui.go("instance", task, app="/hostile")
    expect(page.get_by_role("log")).to_contain_text(SCRIPT)
    ui.go("instance", task, app="/hostile", tab="files")
    page.get_by_role("link", name=SCRIPT.replace("/", "")).click()
    expect(page.get_by_role("log")).to_be_visible()
    ui.go("app", SCRIPT)
    expect(page.get_by_text(f"/{SCRIPT} does not exist")).to_be_visible()
    ui.go("instance", SCRIPT, app=f"/{SCRIPT}", folder=SCRIPT)
    expect(page.get_by_role("heading", level=1)).to_have_text(SCRIPT)
    assert page.locator("main img, main script").count() == 0


def test_scripts_in_agents_attributes_and_in_consul_have_no_effect(ui: Ui, dromos: Platform) -> None:
    page = ui.open("agents")
    expect(page.locator("tbody tr").first).to_contain_text(f"note: {SCRIPT}")
    page.locator("tbody th a").first.click()
    expect(page.locator(".facts")).to_contain_text(SCRIPT)
    service = {
        "Name": f"strange {SCRIPT.replace('/', '')}",
        "ID": SCRIPT,
        "Address": SCRIPT,
        "Port": 1,
        "Tags": [SCRIPT],
        "Meta": {"dromos-app": f"/{SCRIPT}", "dromos-task": SCRIPT, "HAPROXY_0_VHOST": SCRIPT},
        "Check": {"Name": SCRIPT, "TTL": "1h", "Notes": SCRIPT},
    }
    consul = f"http://127.0.0.1:{dromos.ports['consul']}/v1/agent/service"
    requests.put(f"{consul}/register", json=service, timeout=60).raise_for_status()
    try:
        ui.go("services")
        page.get_by_role("searchbox").fill("strange")
        row = page.locator("tbody tr")
        expect(row).to_contain_text(service["Name"])
        row.get_by_role("link").first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text(service["Name"])
        expect(page.locator(".facts")).to_contain_text(SCRIPT)
        for part in (f"{SCRIPT}:1", f"{SCRIPT}: critical"):
            expect(page.get_by_role("table", name="Instances")).to_contain_text(part)
        assert page.locator("main img, main script").count() == 0
    finally:
        requests.put(f"{consul}/deregister/{quote(SCRIPT, safe='')}", timeout=60)


def test_the_policy_lets_nothing_in_and_nothing_inline(ui: Ui, dromos: Platform) -> None:
    page = ui.open()
    answer = page.request.get(f"{dromos.api_url}/ui/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert re.findall(r"<script(?![^>]*src=)|\son\w+=|style=", answer.text()) == []
    # And the browser holds to it; what it says of that is expected.
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p id=styled style=\"color: red\">x</p>')")
    assert page.evaluate("getComputedStyle(document.getElementById('styled')).color") != "rgb(255, 0, 0)"
    # What the browser tells arrives while it is asked something.
    eventually(lambda: page.title() and any("Content Security Policy" in wrong for wrong in ui.wrongs), 60)
    ui.wrongs.clear()
