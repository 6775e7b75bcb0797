"""Signing in, and what is greyed for those who may not do it."""

from collections.abc import Iterator

import pytest
import requests
from playwright.sync_api import Browser, expect

from framework.api.security.accounts import hashed_password, hashed_token
from tests.support.browser import Ui, context_of
from tests.support.framework import Framework
from tests.support.platform import Platform
from tests.support.waiting import eventually

pytestmark = pytest.mark.xdist_group("ui")

ADMIN = {"Authorization": "Bearer admin-token"}


@pytest.fixture(scope="module")
def guarded(dromos: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Framework]:
    """A second framework on the same Mesos, that asks who is there."""
    folder = tmp_path_factory.mktemp("guarded")
    accounts = folder / "accounts.toml"
    accounts.write_text(
        f'[admin]\ntoken = "{hashed_token("admin-token")}"\nallow = ["all /", "admin /"]\n'
        f'[vera]\npassword = "{hashed_password("s3cret ü")}"\nallow = ["view /", "update /shop"]\n'
    )
    flags = {"framework_name": "guarded", "accounts_file": accounts}
    framework = Framework(folder, f"127.0.0.1:{dromos.ports['mesos']}", flags)
    framework.launch()
    try:
        eventually(lambda: requests.get(f"{framework.url}/health", timeout=30).status_code == 200, 60)
        for app in ("/shop/web", "/other"):
            body = {"id": app, "cmd": "sleep 1000", "instances": 0}
            assert requests.post(f"{framework.url}/v2/apps", json=body, headers=ADMIN, timeout=60).status_code == 201
        yield framework
    finally:
        framework.kill()


@pytest.fixture
def ui(browser: Browser, guarded: Framework) -> Iterator[Ui]:
    """A tab of its own, on that framework."""
    with context_of(browser, 60_000) as context:
        yield Ui(context.new_page(), guarded.url)


def test_who_is_not_known_signs_in_and_may_only_do_what_is_allowed(ui: Ui, guarded: Framework) -> None:
    page = ui.page
    page.goto(f"{guarded.url}/ui/#/apps?view=flat")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.get_by_label("Name").fill("vera")
    page.get_by_label("Password or token").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("are not known here")
    assert ui.axe() == []
    page.get_by_label("Password or token").fill("s3cret ü")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="shop/web", exact=True)).to_be_visible()
    expect(page.locator(".connection.live")).to_be_visible()

    create = page.get_by_role("button", name="Create application")
    expect(create).to_be_disabled()
    expect(create).to_have_attribute("title", "You may not do this.")
    ui.go("app", "other")
    for name in ("Scale", "Edit", "Restart", "Destroy"):
        expect(page.get_by_role("button", name=name, exact=True)).to_be_disabled()
    ui.go("app", "shop", "web")
    expect(page.get_by_role("button", name="Destroy")).to_be_disabled()
    page.get_by_role("button", name="Scale", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Scale").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    ui.go("agents")
    page.locator("tbody th a").first.click()
    expect(page.get_by_role("button", name="Drain")).to_be_disabled()

    # Known as long as the tab lives, and no longer than one wants.
    page.reload()
    expect(page.get_by_role("button", name="Sign out (vera)")).to_be_visible()
    page.get_by_role("button", name="Sign out (vera)").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.get_by_label("Password or token").fill("admin-token")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign out (admin)")).to_be_visible()
    ui.go("app", "other")
    expect(page.get_by_role("button", name="Destroy")).to_be_enabled()
    assert ui.wrongs == []
