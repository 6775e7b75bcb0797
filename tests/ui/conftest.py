"""One platform and one Chromium for all tests of the UI; each test gets the same tab, freshly loaded."""

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import WIDE, Ui, chromium
from tests.support.platform import Platform, platform
from tests.support.ui_apps import SCRIPT, deploy_all, sweep

PATIENCE_MS = int(os.environ.get("UI_PATIENCE_MS", "30000"))


@pytest.fixture(scope="package")
def dromos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    attributes = f"rack:a{{n}};note:{SCRIPT}"
    with platform(tmp_path_factory.mktemp("ui"), "--agents", "2", DROMOS_MESOS_ATTRIBUTES=attributes) as one:
        deploy_all(one)
        yield one


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    # Of the package, not of the session: while it is open, no asynchronous test can run in this process.
    expect.set_options(timeout=PATIENCE_MS)
    with chromium() as one:
        yield one


@pytest.fixture(scope="package")
def tab(browser: Browser, dromos: Platform) -> Iterator[Ui]:
    context = browser.new_context(viewport=WIDE, locale="en-GB", color_scheme="light")
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    yield Ui(page, dromos.api_url)
    context.close()


@pytest.fixture
def ui(tab: Ui, dromos: Platform) -> Iterator[Ui]:
    tab.wrongs.clear()
    yield tab
    wrongs = list(tab.wrongs)
    sweep(dromos)
    assert wrongs == []
