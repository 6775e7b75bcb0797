"""The command line's manners: exit codes, errors in one line, help. What the commands do is tested on a running platform."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from framework.api.security.accounts import hashed_token
from framework.api.settings import ApiSettings
from tests.support import cli
from tests.support.answering import answering
from tests.support.memory_cluster import running_framework
from tests.support.platform import ROOT
from tests.support.processes import free_port


def dromos(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """In an interpreter of its own, for what depends on its environment."""
    return subprocess.run(
        [sys.executable, "-m", "dromos", *args],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "DROMOS_API_URL": nobody(), "HOME": "/nonexistent", **environment},
        cwd=ROOT,
        timeout=60,
        check=False,
    )


def nobody() -> str:
    return f"http://127.0.0.1:{free_port()}"


COMMANDS = """
up down status deploy apps scale restart destroy rollback tasks logs events queue deployments
diff versions exec completion framework registrator consul-template edge autoscale mesos consul
"""


def test_help_lists_every_command():
    text = dromos("--help").stdout
    assert [name for name in COMMANDS.split() if f"\n  {name} " not in text] == []


def test_version():
    assert dromos("--version").stdout.startswith("dromos, version ")


@pytest.mark.parametrize(
    "args", [("no-such",), ("scale", "/x"), ("scale", "/x", "-1"), ("deploy",), ("deploy", "-", "--timeout", "soon")]
)
def test_a_wrong_use_is_exit_code_2(args):
    assert cli.dromos(nobody(), *args).code == 2


@pytest.mark.parametrize(
    "args",
    [
        ("apps",),
        ("tasks",),
        ("scale", "/x", "1"),
        ("destroy", "/x"),
        ("queue",),
        ("events",),
        ("logs", "/x"),
        ("exec", "/x", "true"),
    ],
)
def test_no_api_is_exit_code_3_and_one_line_with_the_mend(args):
    done = cli.dromos(nobody(), *args)
    assert done.code == 3
    assert done.err.startswith("error: no API answers at http://127.0.0.1:") and "--api-url" in done.err
    assert done.err.count("\n") == 1 and done.out == ""


def test_a_password_in_the_address_is_not_shown():
    done = cli.dromos("http://me:secret@127.0.0.1:1", "apps")
    assert done.code == 3 and "http://127.0.0.1:1;" in done.err and "secret" not in done.err
    assert "secret" not in cli.dromos("ftp://me:secret@127.0.0.1:1", "apps").err


async def test_a_token_is_taken_from_the_environment_and_shown_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = tmp_path / "accounts.toml"
    accounts.write_text(f'[bot]\ntoken = "{hashed_token("t0ken")}"\nallow = ["all /"]\n')
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ops password guess\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))  # as many have one, for other ports of this host
    async with running_framework(ApiSettings(accounts_file=accounts)) as framework:

        async def run(*args: str, url: str = framework.url) -> cli.Done:
            return await asyncio.to_thread(cli.dromos, url, *args)

        assert "Invalid username or password" in (await run("apps")).err
        monkeypatch.setenv("DROMOS_API_TOKEN", "t0ken\n")
        assert (await run("apps")).code == 0
        named = await run("apps", url=framework.url.replace("://", "://ops:guess@"))
        assert "Invalid username or password" in named.err, "who names a user means that user"
        for odd in ("s3cret\ns3cret", "s3cr\u00e9t"):
            monkeypatch.setenv("DROMOS_API_TOKEN", odd)
            refused = await run("apps")
            assert refused.code == 1 and "DROMOS_API_TOKEN" in refused.err and "s3cr" not in refused.err


def test_the_api_may_be_named_before_and_after_the_command():
    for args in (("--api-url", "http://127.0.0.1:1", "apps"), ("apps", "--api-url", "http://127.0.0.1:1")):
        assert "http://127.0.0.1:1;" in cli.dromos(nobody(), *args).err
    assert "http://127.0.0.1:1;" in dromos("apps", DROMOS_API_URL="http://127.0.0.1:1").stderr


def test_a_bad_file_is_named_before_any_call_is_made(tmp_path):
    (tmp_path / "x.json").write_text("{")
    done = cli.dromos(nobody(), "deploy", str(tmp_path / "x.json"))
    assert done.code == 1 and "x.json, line 1" in done.err


def test_status_without_a_platform_is_exit_code_3(tmp_path):
    done = cli.dromos(nobody(), "status", "--state-dir", str(tmp_path))
    assert done.code == 3 and "start one with `dromos up`" in done.err


def test_down_without_a_platform_is_no_error(tmp_path):
    done = cli.dromos(nobody(), "down", "--state-dir", str(tmp_path / "none"))
    assert done.code == 0 and "no platform runs" in done.out


def test_every_setting_of_up_is_an_environment_variable_too(tmp_path):
    done = dromos("up", "--detach", DROMOS_STATE_DIR=str(tmp_path), DROMOS_API_PORT="none")
    assert done.returncode == 2
    assert done.stderr.startswith("error: environment variable DROMOS_API_PORT: Input should be a valid integer")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "http://", "http://127.0.0.1:port", "http://[::1"])
def test_what_is_no_address_is_said_with_one_that_is(url):
    done = cli.dromos(url, "apps")
    assert done.code == 3 and f"{url.rstrip('/')} is not an address like http://127.0.0.1:8080" in done.err, done.err
    assert done.err.count("\n") == 1


def test_an_address_may_leave_out_its_scheme():
    assert "no API answers at http://127.0.0.1:1;" in cli.dromos("127.0.0.1:1", "apps").err


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, "<html>\n<p>welcome</p>", "is not Marathon's API; another address: --api-url"),
        (404, "<html>\n<p>nothing here</p>", "/v2/apps answers 404 Not Found\n"),
        (404, "no such\nroute", "/v2/apps answers 404 Not Found: no such route\n"),
    ],
)
def test_something_else_that_answers_is_named_in_one_line(status, body, said):
    with answering() as other:
        other.status, other.body, other.content_type = status, body, "text/html"
        done = cli.dromos(other.url, "apps")
    assert done.code in (1, 3) and said in done.err and other.url in done.err
    assert done.err.count("\n") == 1 and done.out == ""


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ("--api-port", "8001"),
            "--api-port and --edge-status-port are both 8001; choose another port for one of them",
        ),
        (("--host", "192.0.2.7"), "Cannot assign requested address; give an IPv4 address of this machine with --host"),
        (("--host", "::1"), "give an IPv4 address of this machine with --host"),
    ],
)
def test_up_says_what_cannot_be_listened_on_and_what_mends_it(tmp_path, flags, said):
    done = cli.dromos(nobody(), "up", "--detach", "--embedded-consul", "--state-dir", str(tmp_path), *flags)
    assert done.code == 1 and said in done.err and done.err.count("\n") == 1, done.err
    assert not (tmp_path / "run" / "platform.json").exists()
