"""Every text of the page is in the language that was chosen: what is left in Latin letters is data, marked as not to be translated."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import Ui
from tests.support.platform import ROOT, Platform
from tests.support.ui_apps import WORKER, delete, put
from tests.support.ui_pages import pages

pytestmark = pytest.mark.xdist_group("ui")

SOURCES = ROOT / "framework" / "ui" / "src" / "i18n"
# Names and units that a Chinese operator reads as they are.
NAMES = {"CPU", "GPU", "GiB", "MiB", "KiB", "B", "ms", "s", "JSON", "ID", "Dromos", "Mesos", "Consul", "Prometheus"}
NAMES |= {"DROMOS_AUTOSCALE_TARGET", "dromos", "deploy", "app", "json", "metrics", "team", "shop", "KEY", "value"}
NAMES |= {"stdout", "stderr", "p50", "p99", "xx"}

# Every text and name on the page outside of data, with where it stands.
TEXTS = """() => {
  const data = "[translate=no], code, pre, kbd, textarea, script, noscript, [lang=en]";
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (node.data.trim() && !node.parentElement.closest(data)) found.push(node.data.trim());
  }
  for (const one of document.querySelectorAll("[aria-label], [title], [placeholder]")) {
    if (one.closest(data)) continue;
    for (const name of ["aria-label", "placeholder", "title"]) {
      if (one.hasAttribute(name) && !(name === "title" && one.closest("time"))) found.push(`${name}: ${one.getAttribute(name)}`);
    }
  }
  return found;
}"""


def texts(language: str) -> dict[str, str]:
    source = (SOURCES / f"{language}.ts").read_text()
    return {key.strip('"'): text for key, text in re.findall(r'^  ("?[\w: -]+"?): "(.*)",$', source, re.MULTILINE)}


def test_every_text_is_translated_with_the_same_gaps() -> None:
    english, chinese = texts("en"), texts("zh")
    assert english.keys() == chinese.keys() and len(english) > 300
    assert [key for key in english if set(gaps(english[key])) != set(gaps(chinese[key]))] == []
    assert [
        key for key in english if not re.search("[\u4e00-\u9fff]", chinese[key]) and chinese[key] not in ("CPU", "JSON")
    ] == []


def test_every_event_of_the_framework_has_a_name() -> None:
    sources = [path.read_text() for path in (ROOT / "framework").rglob("*.py")]
    told = {name for source in sources for name in re.findall(r'"(\w+)_event"', source)}
    told |= {
        name
        for source in sources
        for name in re.findall(r'"((?:deployment|group)_(?:\w+_)?(?:info|success|fail\w+))"', source)
    }
    assert len(told) > 20 and {f"event:{name}" for name in told} - texts("en").keys() == set()


def gaps(text: str) -> list[str]:
    return re.findall(r"\{\w+\}", text)


def words_left(page: Page, ids: list[str]) -> set[str]:
    """Words in Latin letters that are neither data nor names."""
    left = set()
    for text in page.evaluate(TEXTS):
        prefix, _, said = (
            text.rpartition(": ") if text.startswith(("aria-label: ", "title: ", "placeholder: ")) else ("", "", text)
        )
        for known in ids:
            said = said.replace(known, " ")
        left |= {f"{prefix}{said!r}" for word in re.findall(r"[A-Za-z][\w'-]*", said) if word not in NAMES}
    return left


def test_no_english_is_left_on_any_page_in_chinese(ui: Ui, dromos: Platform) -> None:
    page = ui.open(language="zh")
    known: list[Any] = [agent["hostname"] for agent in dromos.get("/v2/agents")["agents"]]
    known += [app["id"] for app in dromos.get("/v2/apps")["apps"]]
    found = {}
    for name, (path, query) in pages(dromos).items():
        ui.show(path, query)
        if left := words_left(page, known):
            found[name] = left
    for keys, button in (("?", None), ("/", None), (None, "创建应用"), (None, "创建分组")):
        ui.go("apps")
        page.locator("tbody th").first.wait_for()
        if keys:
            page.keyboard.press(keys)
        else:
            page.get_by_role("button", name=button).click()
        page.get_by_role("dialog").wait_for()
        if left := words_left(page, known):
            found[f"dialog {keys or button}"] = left
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
    page.evaluate("localStorage.clear()")
    assert found == {}


def test_why_it_waits_is_said_in_the_readers_language(ui: Ui, dromos: Platform) -> None:
    kept = {"type": "MESOS", "volumes": [{"containerPath": "data", "mode": "RW", "persistent": {"size": 1}}]}
    put(dromos, {**WORKER, "id": "/no-role", "container": kept})
    put(dromos, {**WORKER, "id": "/no-secret", "env": {"KEY": {"secret": "db"}}, "secrets": {"db": {"source": "none"}}})
    said = {
        "no-role": ("persistent volumes need a role", "持久卷需要角色"),
        "no-secret": ("a secret cannot be read: secret 'db'", "无法读取密钥：secret 'db'"),
        "stuck": ("too few CPUs free", "空闲 CPU 不足"),
    }
    for language in (0, 1):
        page = ui.open("apps", language=("en", "zh")[language])
        for name, texts_of_it in said.items():
            ui.go("app", name, tab="debug")
            expect(page.locator(".problems").first).to_contain_text(texts_of_it[language])
    page.evaluate("localStorage.clear()")
    for app in ("/no-role", "/no-secret"):
        delete(dromos, app)


def test_what_the_server_says_is_framed_in_the_readers_language_and_marked_as_its_own_words(ui: Ui) -> None:
    page = ui.open("apps", language="zh", create="1")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("JSON").fill('{"id": "/x", "cmd": "x", "upgradeStrategy": {"minimumHealthCapacity": 7}}')
    dialog.get_by_role("button", name="创建应用").click()
    refused = dialog.get_by_role("alert")
    expect(refused).to_contain_text("服务器未接受")
    expect(refused.locator("[lang=en]").first).to_have_text("Object is not valid")
    assert words_left(page, []) == set()
    page.evaluate("localStorage.clear()")
