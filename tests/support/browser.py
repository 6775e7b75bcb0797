"""A real Chromium on the web UI, and what a page must never do: ask outside, break the Content-Security-Policy, raise an error."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Page, Request, sync_playwright

from tests.support.platform import ROOT

CHROMIUM = "/usr/bin/chromium"
# Refused calls are part of many tests; the browser reports each on its console.
_EXPECTED = re.compile(r"Failed to load resource|net::ERR_|ERR_INTERNET_DISCONNECTED")
_DRAWN = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done())))"
_AS_LOADED = """stored => !document.querySelector("dialog[open]") && document.querySelector(".connection") !== null
  && Object.entries(stored).every(([key, value]) => localStorage[key] === value)"""
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 360, "height": 740}


@dataclass
class Ui:
    """One tab on one server's UI. `wrongs` gathers what no page may do; fixtures look at it after each test."""

    page: Page
    origin: str
    wrongs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.wrongs.append(f"exception: {error}"))
        self.page.on("request", self._on_request)
        self.page.on("dialog", lambda dialog: (self.wrongs.append(f"alert: {dialog.message}"), dialog.dismiss()))

    def open(self, *path: str, theme: str = "light", language: str = "en", **query: str) -> Page:
        """A page as if it was just loaded: `open("app", "shop", "web", tab="debug")`. Loaded anew only where that is needed."""
        stored = {"dromos.theme": theme, "dromos.language": language}
        if self.page.url.startswith(f"{self.origin}/ui/") and self.page.evaluate(_AS_LOADED, stored):
            self.go("nowhere")  # which leaves nothing of the page that was there
            self.page.evaluate(_DRAWN)
            self.go(*path, **query)
            self.page.evaluate(_DRAWN)
            self.page.locator(".connection.live").wait_for()
            return self.page
        return self.load(*path, theme=theme, language=language, **query)

    def load(self, *path: str, theme: str = "light", language: str = "en", **query: str) -> Page:
        """A fresh load of a page."""
        stored = {"dromos.theme": theme, "dromos.language": language}
        if not self.page.url.startswith(f"{self.origin}/"):
            self.page.goto(f"{self.origin}/ping")  # for the origin's storage, which the page reads when it begins
        self.page.evaluate("stored => Object.assign(localStorage, stored)", stored)
        if self.page.url.startswith(f"{self.origin}/ui/"):
            self.page.evaluate("hash => history.replaceState(null, '', hash)", address(*path, **query))
            self.page.reload()
        else:
            self.page.goto(f"{self.origin}/ui/{address(*path, **query)}")
        self.page.locator(".connection.live").wait_for()
        return self.page

    def go(self, *path: str, **query: str) -> Page:
        """To another page, as a click on a link would."""
        self.page.evaluate("hash => { location.hash = hash }", address(*path, **query))
        return self.page

    def show(self, path: tuple[str, ...], query: dict[str, str]) -> Page:
        """To another page, until what it asks for is there and drawn."""
        self.go(*path, **query)
        self.page.evaluate(_DRAWN)
        self.page.wait_for_function(
            "() => !/connecting|连接中/.test(document.querySelector('main')?.textContent ?? 'connecting')"
        )
        return self.page

    def axe(self, *only: str, within: str = "html") -> list[str]:
        """What axe-core finds against WCAG 2.2 A and AA on the page as it is now, one line each; of some rules, or of all; on all of it,
        or within what a selector names."""
        if not self.page.evaluate("() => 'axe' in window"):
            self.page.evaluate(_axe_source())
        found: list[dict[str, Any]] = self.page.evaluate(
            """async ([only, within]) => (await axe.run(within, {
                 ...(only.length ? {runOnly: {type: "rule", values: only}} : {
                   runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
                   rules: {region: {enabled: false}},
                 }),
                 resultTypes: ["violations"], preload: false, iframes: false,
               })).violations""",
            [list(only), within],
        )
        return [
            f"{item['id']}: {node['target']} {node['failureSummary'].splitlines()[-1].strip()} {node['html'][:160]}"
            for item in found
            for node in item["nodes"]
        ]

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not _EXPECTED.search(message.text):
            self.wrongs.append(f"console: {message.text}")

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((f"{self.origin}/", "about:", "blob:" + self.origin)):
            self.wrongs.append(f"asked outside: {request.url}")


@contextlib.contextmanager
def context_of(browser: Browser, patience: float) -> Iterator[BrowserContext]:
    """Windows and storage of their own; what is waited for may take `patience` milliseconds."""
    context = browser.new_context(viewport=WIDE, locale="en-GB", color_scheme="light")
    try:
        context.set_default_timeout(patience)
        yield context
    finally:
        context.close()


class Tab(contextlib.AbstractContextManager["Tab"]):
    """One tab for many tests. `ui` is another one, as of a browser just started, after `renew`."""

    def __init__(self, browser: Browser, origin: str, patience: float) -> None:
        self._browser, self._origin, self._patience = browser, origin, patience
        self._open = contextlib.ExitStack()
        self.ui = self._opened()

    def renew(self) -> None:
        self._close()
        self.ui = self._opened()

    def _opened(self) -> Ui:
        context = self._open.enter_context(context_of(self._browser, self._patience))
        return Ui(context.new_page(), self._origin)

    def _close(self) -> None:
        with contextlib.suppress(Error):  # of a page that has crashed
            self._open.close()

    def __exit__(self, *_: object) -> None:
        self._close()


def address(*path: str, **query: str) -> str:
    search = f"?{urlencode(query)}" if query else ""
    return f"#/{'/'.join(quote(part, safe='') for part in path)}{search}"


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
            timeout=120_000,
        )
        try:
            yield browser
        finally:
            browser.close()


@cache
def _axe_source() -> str:
    return (ROOT / "framework/ui/node_modules/axe-core/axe.min.js").read_text() + "\n;undefined"
