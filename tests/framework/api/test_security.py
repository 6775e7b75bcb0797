"""Who may do what, the audit of it, and TLS."""

import asyncio
import base64
import json
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from daemonkit.errors import OperatorError
from framework.api.security import guard
from framework.api.security.accounts import Identity, fits, hashed_password, hashed_token, load
from framework.api.settings import ApiSettings
from tests.support.certificates import make_certificate
from tests.support.memory_cluster import Framework, running_framework
from tests.support.processes import REPOSITORY
from tests.support.waiting import eventually_async

REFUSED = {"message": "Not Authorized to perform this action!"}


def accounts(path: Path) -> Path:
    file = path / "accounts.toml"
    file.write_text(
        f"""
        [admin]
        password = "{hashed_password("s3cret")}"
        allow = ["all /", "admin /"]

        [prod-bot]
        token = "{hashed_token("prod-token")}"
        allow = ["all /prod"]

        [viewer]
        token = "{hashed_token("viewer-token")}"
        allow = ["view /"]
        """
    )
    return file


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


ADMIN = basic("admin", "s3cret")
PROD = {"Authorization": "Bearer prod-token"}
VIEWER = {"Authorization": "token=viewer-token"}


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Framework]:
    settings = ApiSettings(accounts_file=accounts(tmp_path), audit_file=tmp_path / "audit.log")
    async with running_framework(settings) as framework:
        for app_id in ("/prod/web", "/dev/web"):
            answer = await framework.call("POST", "/v2/apps", {"id": app_id, "cmd": "x"}, headers=ADMIN)
            assert answer.status == 201
        await framework.settled()
        yield framework


async def test_who_is_not_known_is_401_everywhere(guarded: Framework) -> None:
    for headers in (
        {},
        basic("admin", "wrong"),
        basic("nobody", "s3cret"),
        basic("prod-bot", ""),
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic %%%"},
        {"Authorization": "Basic " + base64.b64encode(b"\xff\xfe").decode()},
        {"Authorization": "Negotiate x"},
        {"Authorization": "Bearer " + "x" * 5000},
        {"Authorization": "Bearer " + hashed_token("prod-token")},
    ):
        for path in ("/v2/apps", "/v2/events", "/metrics", "/v2/info"):
            answer = await guarded.call("GET", path, headers=headers)
            assert answer.status == 401, (path, headers)
            assert answer.headers["WWW-Authenticate"].startswith("Basic")
        assert (await guarded.call("DELETE", "/v2/apps/prod/web", headers=headers)).status == 401
        assert (await guarded.call("GET", "/ping", headers=headers)).status == 200
    assert "/prod/web" in guarded.engine.view.declared.apps


async def test_passwords_bearer_tokens_and_token_headers_are_taken(guarded: Framework) -> None:
    for headers in (
        ADMIN,
        PROD,
        VIEWER,
        {"Authorization": "token=prod-token"},
        {"Authorization": "bearer viewer-token"},
    ):
        assert (await guarded.call("GET", "/v2/apps", headers=headers)).status == 200


async def test_lists_leave_out_what_the_caller_may_not_view(guarded: Framework) -> None:
    async def ids(headers: dict[str, str]) -> list[str]:
        return [app["id"] for app in (await guarded.get("/v2/apps", headers=headers))["apps"]]

    assert await ids(VIEWER) == ["/dev/web", "/prod/web"]
    assert await ids(PROD) == ["/prod/web"]
    assert {t["appId"] for t in (await guarded.get("/v2/tasks", headers=PROD))["tasks"]} == {"/prod/web"}
    groups = (await guarded.get("/v2/groups", headers=PROD))["groups"]
    assert [(g["id"], len(g["apps"])) for g in groups] == [("/dev", 0), ("/prod", 1)]
    for path in (
        "/v2/apps/dev/web",
        "/v2/apps/dev/web/tasks",
        "/v2/apps/dev/web/versions",
        "/v2/apps/dev/nope",
        "/v2/events",
    ):
        answer = await guarded.call("GET", path, headers=PROD)
        assert (answer.status, answer.json) == (403, REFUSED), path


async def test_what_is_outside_the_callers_paths_is_403_and_changes_nothing(guarded: Framework) -> None:
    before = guarded.engine.view.declared
    for method, path, body in (
        ("PUT", "/v2/apps/dev/web", {"instances": 2}),
        ("PATCH", "/v2/apps/dev/web", {"instances": 2}),
        ("POST", "/v2/apps/dev/web/restart", None),
        ("DELETE", "/v2/apps/dev/web", None),
        ("POST", "/v2/apps", {"id": "/new", "cmd": "x"}),
        ("PUT", "/v2/apps", [{"id": "/prod/web", "instances": 2}, {"id": "/dev/web", "instances": 2}]),
        ("DELETE", "/v2/groups/dev", None),
        ("DELETE", "/v2/groups", None),
        ("PUT", "/v2/groups", {"groups": []}),
        ("PUT", "/v2/groups", {"scaleBy": 2}),
        ("POST", "/v2/groups", {"id": "/other"}),
        ("POST", "/v2/pods", {"id": "/pod", "containers": [{"name": "c", "image": {"id": "x"}}]}),
        ("DELETE", "/v2/apps/dev/web/tasks", None),
        ("DELETE", "/v2/queue/dev/web/delay", None),
        ("DELETE", "/v2/leader", None),
        ("POST", "/logging", {"logger": "x", "level": "debug"}),
        ("GET", "/config", None),
    ):
        answer = await guarded.call(method, path, body, headers=PROD)
        assert (answer.status, answer.json) == (403, REFUSED), (method, path, body)
        assert guarded.engine.view.declared == before


async def test_inside_its_paths_an_account_may_do_all(guarded: Framework) -> None:
    assert (await guarded.call("PUT", "/v2/apps/prod/web", {"instances": 2}, headers=PROD)).status == 200
    await guarded.settled()
    assert (await guarded.call("POST", "/v2/apps", {"id": "/prod/new", "cmd": "x"}, headers=PROD)).status == 201
    await guarded.settled()
    assert (await guarded.call("DELETE", "/v2/groups/prod", headers=PROD)).status == 200
    await guarded.settled()
    assert set(guarded.engine.view.declared.apps) == {"/dev/web"}


async def test_tasks_of_others_are_not_killed_by_id(guarded: Framework) -> None:
    ids = [t["id"] for t in (await guarded.get("/v2/tasks", headers=ADMIN))["tasks"]]
    assert (await guarded.call("POST", "/v2/tasks/delete", {"ids": ids}, headers=PROD)).status == 403
    assert (await guarded.call("POST", "/v2/tasks/delete", {"ids": ids}, headers=VIEWER)).status == 403
    assert set(guarded.cluster.running) == set(ids)


async def test_the_accounts_file_is_reloaded_and_a_broken_one_changes_nothing(
    guarded: Framework, tmp_path: Path
) -> None:
    file = tmp_path / "accounts.toml"
    good = file.read_text()
    file.write_text("[broken")

    async def noticed() -> bool:
        assert (await guarded.call("GET", "/v2/apps", headers=ADMIN)).status == 200
        return any(entry["event"] == "the accounts stay as they were" for entry in logged)

    with capture_logs() as logged:
        await eventually_async(noticed)
    file.write_text(good.replace(hashed_token("viewer-token"), hashed_token("another")))

    async def status(token: str) -> int:
        return (await guarded.call("GET", "/v2/apps", headers={"Authorization": f"Bearer {token}"})).status

    await eventually_async(lambda: _is(status("another"), 200))
    assert await status("viewer-token") == 401


async def _is(status: Any, wanted: int) -> bool:
    return await status == wanted


async def test_every_change_is_audited_and_no_secret_is_in_it(guarded: Framework, tmp_path: Path) -> None:
    await guarded.call("PUT", "/v2/apps/prod/web?force=true", {"instances": 2}, headers=PROD)
    await guarded.call("PUT", "/v2/apps/dev/web", {"instances": 2}, headers=PROD)
    await guarded.call("DELETE", "/v2/apps/prod/web", headers=basic("admin", "guess"))
    await guarded.call("GET", "/v2/apps", headers=ADMIN)
    audit = tmp_path / "audit.log"
    # The line of a change is written when its answer has left.
    await eventually_async(lambda: audit.read_text().count("\n") >= 5)
    text = audit.read_text()
    lines = [json.loads(line) for line in text.splitlines()][2:]
    assert [(e["who"], e["method"], e["path"], e["query"], e["status"]) for e in lines] == [
        ("prod-bot", "PUT", "/v2/apps/prod/web", "force=true", 200),
        ("prod-bot", "PUT", "/v2/apps/dev/web", "", 403),
        ("unknown", "DELETE", "/v2/apps/prod/web", "", 401),
    ]
    assert lines[0]["deployment"] and lines[0]["client"] == "127.0.0.1" and lines[0]["time"].endswith("Z")
    assert "token" not in text and "guess" not in text and "s3cret" not in text


async def test_a_line_of_the_audit_that_takes_its_time_is_not_overtaken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, append = threading.Event(), guard._append

    def slow(path: Path, line: bytes) -> None:
        if b"/first" in line:
            release.wait(60)
        append(path, line)

    monkeypatch.setattr(guard, "_append", slow)
    audit = tmp_path / "audit.log"
    async with running_framework(ApiSettings(audit_file=audit)) as framework:
        for app_id in ("first", "second"):
            assert (await framework.call("PUT", f"/v2/apps/{app_id}", {"cmd": "x"})).status == 201
        with pytest.raises(AssertionError):
            await eventually_async(audit.exists, timeout=0.3)
        release.set()
        await eventually_async(lambda: audit.read_text().count("\n") == 2)
    assert [json.loads(line)["path"] for line in audit.read_text().splitlines()] == [
        "/v2/apps/first",
        "/v2/apps/second",
    ]


async def test_read_only_refuses_changes_and_serves_reads() -> None:
    async with running_framework(ApiSettings(read_only=True)) as framework:
        for method, path in (("POST", "/v2/apps"), ("DELETE", "/v2/leader"), ("PUT", "/v2/groups")):
            answer = await framework.call(method, path, {"id": "/a", "cmd": "x"})
            assert (answer.status, answer.json["message"]) == (403, "This API is read-only")
        assert await framework.get("/v2/apps") == {"apps": []}


async def test_a_caller_that_asks_too_often_is_429() -> None:
    async with running_framework(ApiSettings(requests_per_second=0.001)) as framework:
        assert [await _status_of(framework) for _ in range(3)] == [200, 429, 429]
        refused = await framework.call("GET", "/v2/apps", headers={"X-Forwarded-For": "203.0.113.9"})
        assert refused.status == 429 and refused.headers["Retry-After"] == "1", "nor does another name help"


async def test_a_caller_that_asked_too_often_is_served_again_after_a_while() -> None:
    async with running_framework(ApiSettings(requests_per_second=2)) as framework:
        assert [await _status_of(framework) for _ in range(4)] == [200] * 4, "twice as many at once"

        async def refused() -> bool:
            return 429 in await asyncio.gather(*(_status_of(framework) for _ in range(20)))

        await eventually_async(refused)
        await eventually_async(lambda: _is(_status_of(framework), 200))


async def _status_of(framework: Framework) -> int:
    return (await framework.call("GET", "/v2/apps")).status


async def test_tls_is_served_with_the_given_certificate(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path / "framework.pem", "127.0.0.1")
    settings = ApiSettings(tls_certificate=certificate, tls_key=certificate)
    async with running_framework(settings, certificate=(certificate, certificate)) as framework:
        trusted = ssl.create_default_context(cafile=certificate)
        answer = await framework.call("GET", "/v2/apps", ssl=trusted)
        assert answer.status == 200 and answer.headers["X-Marathon-Leader"].startswith("https://")


# --- accounts


def test_a_permission_covers_its_path_and_all_below() -> None:
    identity = Identity("x", frozenset({("view", "/prod"), ("update", "/")}))
    assert identity.may("view", "/prod") and identity.may("view", "/prod/web/api")
    assert not identity.may("view", "/production") and not identity.may("view", "/")
    assert identity.may("update", "/anything") and not identity.may("delete", "/prod")


def test_a_hashed_password_fits_only_its_password() -> None:
    hashed = hashed_password("pass:word")
    assert fits("pass:word", hashed) and not fits("password", hashed)
    assert "pass" not in hashed and hashed_password("pass:word") != hashed


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[a]\n", "give `password` or `token`, hashed"),
        ('[a]\npassword = "clear"\n', "`password` is to be hashed"),
        ('[a]\ntoken = "clear"\n', "`token` is to be hashed"),
        ("a = 1\n", "an account is a table"),
        (f'[a]\ntoken = "{hashed_token("x")}"\nallow = ["fly /"]\n', "permission 'fly /' is to be"),
        (f'[a]\ntoken = "{hashed_token("x")}"\nallow = "view /"\n', "`allow` is a list"),
        ("[a", "cannot be read"),
    ],
)
def test_a_mistake_in_the_accounts_file_is_one_line_that_says_where(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "accounts.toml"
    file.write_text(text)
    with pytest.raises(OperatorError) as caught:
        load(file)
    assert complaint in str(caught.value) and str(file) in str(caught.value) and "\n" not in str(caught.value).strip()


def test_the_command_prints_an_entry_that_can_be_loaded(tmp_path: Path) -> None:
    made = subprocess.run(
        [
            sys.executable,
            "-m",
            "framework.api.security",
            "bot",
            "--token",
            "--secret",
            "abc",
            "--allow",
            "view /prod",
        ],
        check=True,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    file = tmp_path / "accounts.toml"
    file.write_text(made.stdout)
    identity = load(file).with_token("abc")
    assert identity is not None and identity.name == "bot" and identity.may("view", "/prod/x")


async def test_everybody_is_told_what_they_may_do(guarded: Framework) -> None:
    me = await guarded.get("/v2/me", headers=PROD)
    assert me["name"] == "prod-bot" and me["signedIn"] and {"verb": "update", "path": "/prod"} in me["permissions"]
    assert all(permission["path"] == "/prod" for permission in me["permissions"])
    assert (await guarded.call("GET", "/v2/me")).status == 401


async def test_agents_services_and_sandboxes_need_permission(guarded: Framework) -> None:
    for path in ("/v2/agents", "/v2/services", "/v2/services/x", "/v2/autoscale/journal"):
        assert (await guarded.call("GET", path, headers=PROD)).status in (403, 404)
    dev_task = (await guarded.get("/v2/apps/dev/web/tasks", headers=ADMIN))["tasks"][0]["id"]
    for task in (dev_task, "dev_web.instance-gone._app.1"):
        answer = await guarded.call("GET", f"/v2/tasks/{task}/files", headers=PROD)
        assert (answer.status, answer.json) == (403, REFUSED)
    for method in ("POST", "DELETE"):
        assert (await guarded.call(method, "/v2/agents/agent-1/drain", headers=VIEWER)).status == 403
