"""One platform and one Chromium for all tests of the UI; each test gets the same tab, freshly loaded, and the same apps."""

import os
from collections.abc import Generator, Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import Tab, Ui, chromium
from tests.support.platform import Platform, platform
from tests.support.ui_apps import SCRIPT, deploy_all, sweep

PATIENCE_MS = int(os.environ.get("UI_PATIENCE_MS", "60000"))
FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[FAILED] = report.failed
    return report


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
def tab(browser: Browser, dromos: Platform) -> Iterator[Tab]:
    with Tab(browser, dromos.api_url, PATIENCE_MS) as one:
        yield one


@pytest.fixture
def ui(tab: Tab, dromos: Platform, request: pytest.FixtureRequest) -> Iterator[Ui]:
    tab.ui.wrongs.clear()
    yield tab.ui
    wrongs = list(tab.ui.wrongs)
    if request.node.stash.get(FAILED, True):
        tab.renew()  # it may be offline, narrow, frozen, or in the middle of a dialog
        dromos.wait_until_healthy()
    sweep(dromos)
    assert wrongs == []
