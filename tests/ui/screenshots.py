"""Pictures of every page, in both themes and at both widths: `make screenshots`, into build/screenshots; `--docs` those of docs/ui.md.

python -m tests.ui.screenshots [--docs] [--only NAME]…
"""

import argparse
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import requests
from playwright.sync_api import Page, expect

from tests.support import ui_pages
from tests.support.browser import NARROW, WIDE, Ui, chromium
from tests.support.platform import ROOT, Platform, platform
from tests.support.ui_apps import DATABASE, POD, WORKER, deploy_all, put
from tests.support.waiting import eventually

OUT = ROOT / "build" / "screenshots"
DOCS = ROOT / "docs" / "images"
# Page and theme of what docs/ui.md shows.
SHOWN = {
    ("overview", "light"),
    ("apps", "dark"),
    ("log", "dark"),
    ("edit", "light"),
    ("service", "light"),
    ("autoscaling", "light"),
    ("agents", "light"),
    ("debug", "light"),
    ("pod", "light"),
    ("volumes", "light"),
    ("deployments", "dark"),
}
Prepare = Callable[[Page], object]
Shot = tuple[tuple[str, ...], dict[str, str], Prepare | None]  # path, query, what is done on the page first
LONG = "/platform-of-the-department-for-long-names/europe-west/customer-facing/web-frontend-with-a-really-long-name-v2"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--docs", action="store_true", help="take those of docs/ui.md again")
    parser.add_argument("--only", action="append", default=[], help="one page; may be given several times")
    given = parser.parse_args()
    expect.set_options(timeout=30_000)
    with (
        tempfile.TemporaryDirectory() as folder,
        platform(Path(folder), "--agents", "2") as dromos,
        chromium() as browser,
    ):
        prepare(dromos)
        with traffic(dromos):
            context = browser.new_context(viewport=WIDE, locale="en-GB")
            context.set_default_timeout(30_000)
            take_all(Ui(context.new_page(), dromos.api_url), dromos, given.docs, given.only)
            if not given.only:
                take_chinese(Ui(context.new_page(), dromos.api_url), dromos, given.docs)
            context.close()
    print(f"{DOCS if given.docs else OUT}")


def prepare(dromos: Platform) -> None:
    deploy_all(dromos)
    for name in ("payments/api", "payments/ledger", "search/index", "search/query", "internal/mail"):
        put(dromos, {**WORKER, "id": f"/{name}", "labels": {"team": name.split("/")[0]}})
    put(
        dromos,
        {**WORKER, "id": LONG, "labels": {"a-label-with-a-long-name": "and-a-value-that-does-not-end-soon-either"}},
    )
    put(dromos, {**DATABASE, "instances": 2})
    eventually(lambda: dromos.get("/v2/apps/prod/db")["app"]["tasksRunning"] == 2, 60)
    put(dromos, {"id": "/prod/db", "instances": 1})  # one volume in use, one that waits
    put(dromos, {**WORKER, "id": "/internal/mail", "instances": 4})
    eventually(lambda: dromos.get("/v2/apps/internal/mail")["app"]["tasksRunning"] == 4, 60)
    tried = {**WORKER, "id": "/internal/mail", "instances": 4, "cmd": "sleep 200000"}
    put(dromos, tried, strategy="canary", share="25%")
    for pod_id, instances in (("/teams/batch", 0), (f"{LONG}-as-a-pod", 1)):
        pod = {**POD, "id": pod_id, "scaling": {"kind": "fixed", "instances": instances}}
        requests.post(f"{dromos.api_url}/v2/pods", json=pod, timeout=30).raise_for_status()
    secret = {"env": {"KEY": {"secret": "key"}}, "secrets": {"key": {"source": "search/key"}}}
    put(dromos, {**WORKER, "id": "/search/secret", **secret})
    put(dromos, {**WORKER, "id": "/shop/worker", "mem": 48})
    put(dromos, {**WORKER, "id": "/shop/worker", "mem": 32, "env": {"MODE": "fast"}})
    eventually(lambda: dromos.edge("web.localhost").status_code == 200, 60)


class traffic:  # noqa: N801
    """Requests to /shop/web, some of which are not found, as long as the block lasts."""

    def __init__(self, dromos: Platform) -> None:
        self._dromos, self._over = dromos, threading.Event()
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    def _send(self) -> None:
        sent = 0
        while not self._over.wait(0.02 if sent % 200 < 120 else 0.06):
            sent += 1
            try:
                self._dromos.edge("web.localhost", "/" if sent % 9 else "/missing")
            except requests.RequestException:
                continue


def take_all(ui: Ui, dromos: Platform, docs: bool, only: list[str]) -> None:
    for theme in ("light", "dark"):
        for width, size in (("1440", WIDE), ("360", NARROW)):
            wanted = [name for name in pages(dromos) if not only or name in only]
            if docs:
                wanted = [name for name in wanted if width == "1440" and (name, theme) in SHOWN]
            if not wanted:
                continue
            ui.page.set_viewport_size(size)
            ui.open(theme=theme)
            for name in wanted:
                path, query, prepared = pages(dromos)[name]
                ui.go(*path, **query)
                ready(ui.page)
                if prepared:
                    prepared(ui.page)
                    ready(ui.page)
                folder = DOCS if docs else OUT / f"{theme}-{width}"
                folder.mkdir(parents=True, exist_ok=True)
                ui.page.screenshot(path=folder / f"{'ui-' if docs else ''}{name}.png", animations="disabled")
                ui.page.keyboard.press("Escape")
                ui.page.context.set_offline(False)
                ui.page.locator(".connection.live").wait_for()
            print(f"{theme} {width}: {len(wanted)}", flush=True)


def take_chinese(ui: Ui, dromos: Platform, docs: bool) -> None:
    ui.page.set_viewport_size(WIDE)
    folder = DOCS if docs else OUT / "chinese-1440"
    folder.mkdir(parents=True, exist_ok=True)
    ui.open(language="zh")
    for name, (path, query) in ui_pages.pages(dromos).items():
        if docs and name != "overview":
            continue
        ui.show(path, query)
        ready(ui.page)
        ui.page.screenshot(path=folder / (f"ui-{name}-zh.png" if docs else f"{name}.png"), animations="disabled")


def ready(page: Page) -> None:
    expect(page.locator("main").filter(has_text="connecting")).to_have_count(0)
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.wait_for_timeout(400)  # what is asked for by the page itself


def pages(dromos: Platform) -> dict[str, Shot]:
    """Every page by name, with those of what runs there now."""
    task = dromos.tasks("/shop/web")[0]
    broken = dromos.get("/v2/apps/broken?embed=app.lastTaskFailure")["app"]["lastTaskFailure"]
    service = next(one["name"] for one in dromos.get("/v2/services")["services"] if one["app"] == "/shop/web")
    instance = ("instance", task["id"])
    ended = ("instance", broken["taskId"])
    return FIXED | {
        "log": (instance, {"app": "/shop/web", "tab": "stderr"}, None),
        "files": (instance, {"app": "/shop/web", "tab": "files"}, None),
        "ended": (ended, {"app": "/broken", "agent": broken["slaveId"], "tab": "stderr"}, None),
        "agent": (("agents", task["slaveId"]), {}, None),
        "service": (("services", service), {}, charted),
    }


# --- what is done on a page before its picture is taken


def press(name: str) -> Prepare:
    return lambda page: page.get_by_role("button", name=name, exact=True).first.click()


def refused(page: Page) -> None:
    page.get_by_role("button", name="Create application").click()
    page.get_by_label("JSON").fill('{"id": "/NOT an id", "cmd": "x", "cpus": -1, "mem": 64, "instances": 1}')
    page.get_by_role("dialog").get_by_role("button", name="Create application").click()
    page.locator(".field-error").first.wait_for()


def changed(page: Page) -> None:
    press("Edit")(page)
    page.get_by_label("Memory").fill("64")


def pod_changed(page: Page) -> None:
    press("Edit")(page)
    source = page.get_by_label("JSON")
    source.fill(source.input_value().replace("100000", "200000"))


def older(page: Page) -> None:
    page.locator(".versions button").nth(1).click()
    page.locator(".changes").wait_for()


def charted(page: Page) -> None:
    page.locator(".chart canvas").first.wait_for()
    page.wait_for_timeout(12_000 if page.viewport_size == WIDE else 500)


def searched(page: Page) -> None:
    page.keyboard.press("/")
    page.get_by_role("searchbox").last.fill("sho")


def forced(page: Page) -> None:
    press("Restart")(page)
    page.get_by_role("dialog").get_by_role("button", name="Restart").click()
    page.get_by_role("button", name="Force").wait_for()


def unknown_pod(page: Page) -> None:
    press("Create pod")(page)
    page.get_by_label("JSON").fill('{"id": "/Not An Id", "containers": []}')
    page.get_by_role("dialog").get_by_role("button", name="Create pod").click()
    page.get_by_role("dialog").get_by_role("alert").wait_for()


def offline(page: Page) -> None:
    page.context.set_offline(True)
    page.get_by_role("alert").first.wait_for()


WEB = ("app", "shop", "web")
PAIR = ("pod", "teams", "pair")
# Those that are at the same address on any platform.
FIXED: dict[str, Shot] = {
    "overview": ((), {}, None),
    "apps": (("apps",), {}, None),
    "apps-flat": (("apps",), {"view": "flat"}, None),
    "apps-empty": (("apps", "nothing"), {}, None),
    "apps-no-match": (("apps",), {"text": "zzz"}, None),
    "app": (WEB, {}, None),
    "app-long": (("app", *LONG.strip("/").split("/")), {}, None),
    "configuration": (("app", "shop", "worker"), {"tab": "configuration"}, older),
    "autoscaling": (WEB, {"tab": "autoscaling"}, None),
    "debug": (("app", "stuck"), {"tab": "debug"}, None),
    "debug-secret": (("app", "search", "secret"), {"tab": "debug"}, None),
    "failure": (("app", "broken"), {"tab": "debug"}, None),
    "volumes": (("app", "prod", "db"), {"tab": "volumes"}, None),
    "wipe": (("app", "prod", "db"), {"tab": "volumes"}, press("Wipe")),
    "no-volumes": (WEB, {"tab": "volumes"}, None),
    "statistics": (WEB, {"tab": "debug"}, None),
    "pods": (("pods",), {}, None),
    "pod": (PAIR, {}, None),
    "pod-long": (("pod", *f"{LONG}-as-a-pod".strip("/").split("/")), {}, None),
    "pod-container": (PAIR, {}, lambda page: page.get_by_role("link", name="sidecar").click()),
    "pod-edit": (PAIR, {}, pod_changed),
    "pod-create": (("pods",), {}, press("Create pod")),
    "pod-refused": (("pods",), {}, unknown_pod),
    "app-events": (("app", "broken"), {"tab": "events"}, None),
    "edit": (WEB, {}, changed),
    "refused": (("apps",), {}, refused),
    "destroy": (WEB, {}, press("Destroy")),
    "force": (("app", "stuck"), {}, forced),
    "deployments": (("deployments",), {}, None),
    "events": (("events",), {}, None),
    "instances": (("instances",), {}, None),
    "agents": (("agents",), {}, None),
    "services": (("services",), {}, None),
    "search": ((), {}, searched),
    "help": ((), {}, lambda page: page.keyboard.press("?")),
    "scale": (WEB, {}, press("Scale")),
    "chosen": (WEB, {}, lambda page: page.get_by_role("checkbox").nth(1).check()),
    "missing": (("nowhere",), {}, None),
    "stale": (("agents",), {}, offline),
}


if __name__ == "__main__":
    main()
