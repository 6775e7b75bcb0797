"""What single settings do, on a runner in this process or in a daemon where it takes one."""

import asyncio
import contextlib
import json
import os
import pty
import random
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from consul_template_py import commands
from consul_template_py.child import Child
from consul_template_py.commands import ChildEnvironment, Command
from consul_template_py.config import Config, SyslogConfig, load
from consul_template_py.errors import ConfigError, GivenUpError, TargetError, TemplateError
from consul_template_py.log_outputs import syslog_handler
from consul_template_py.query import KeyQuery, NodesQuery
from consul_template_py.quiescence import Wait
from consul_template_py.runner import Runner, consul_settings
from consul_template_py.sources.consul import ConsulSettings, ConsulSource
from consul_template_py.watch import Watcher
from tests.support.consul import ConsulServer
from tests.support.processes import finished, free_port, running
from tests.support.waiting import eventually, eventually_async

PROGRAM = [sys.executable, "-m", "consul_template_py.daemon"]


async def once(**config: Any) -> None:
    runner = Runner(Config.model_validate({"consul": {"address": "127.0.0.1:1"}, **config}), once=True)
    async with asyncio.timeout(60):
        await runner.run(asyncio.Event())


@contextlib.asynccontextmanager
async def following(config: dict[str, Any]) -> AsyncIterator[Runner]:
    """A runner that has written all of its files."""
    runner, stop = Runner(Config.model_validate(config)), asyncio.Event()
    task = asyncio.create_task(runner.run(stop))
    try:
        await asyncio.wait_for(runner.settled(), 60)
        yield runner
    finally:
        stop.set()
        await task


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (ChildEnvironment(), {"A": "1", "B": "2", "AB": "3"}),
        (ChildEnvironment(pristine=True), {}),
        (ChildEnvironment(pristine=True, custom=(("X", "y"),)), {"X": "y"}),
        (ChildEnvironment(custom=(("A", "own"),)), {"A": "own", "B": "2", "AB": "3"}),
        (ChildEnvironment(allow=("A*",)), {"A": "1", "AB": "3"}),
        (ChildEnvironment(deny=("A*",)), {"B": "2"}),
        (ChildEnvironment(allow=("A*",), deny=("AB",), custom=(("AB", "own"),)), {"A": "1", "AB": "own"}),
    ],
)
def test_the_environment_of_a_child(settings: ChildEnvironment, expected: dict[str, str]) -> None:
    assert settings.build({"A": "1", "B": "2", "AB": "3"}) == expected


async def test_a_splay_is_a_random_wait_before_the_command() -> None:
    random.seed(7)
    expected = random.uniform(0, 0.5)
    random.seed(7)
    began = time.monotonic()
    assert (await commands.run(Command.parse("true", splay=0.5))).ok
    assert time.monotonic() - began >= expected > 0.1


async def test_a_folder_that_is_missing_is_made_or_not(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    template = {"contents": "x", "destination": str(out)}
    with pytest.raises(TargetError, match="No such file"):
        await once(template=[{**template, "create_dest_dirs": False}])
    assert not out.parent.exists()
    await once(template=[template])
    assert out.read_text() == "x" and stat.S_IMODE(out.stat().st_mode) == 0o644


async def test_delimiters_and_missing_keys_of_a_go_template(tmp_path: Path) -> None:
    out = tmp_path / "out"
    source = '<< with parseJSON `{"b": 1}` >>[<< .a >>]<< end >> {{ x }}'
    template = {"contents": source, "language": "go", "left_delimiter": "<<", "right_delimiter": ">>"}
    await once(template=[{**template, "destination": str(out)}])
    assert out.read_text() == "[<no value>] {{ x }}"
    with pytest.raises(TemplateError, match="no entry"):
        await once(template=[{**template, "destination": str(out), "error_on_missing_key": True}])
    assert out.read_text() == "[<no value>] {{ x }}"


async def test_a_missing_attribute_of_a_jinja_template_is_empty_or_an_error(tmp_path: Path) -> None:
    template = {"contents": "[{{ {}.a }}]", "destination": str(tmp_path / "out")}
    await once(template=[template])
    assert (tmp_path / "out").read_text() == "[]"
    with pytest.raises(TemplateError, match="has no attribute 'a'"):
        await once(template=[{**template, "error_on_missing_key": True}])


async def test_templates_include_from_their_own_folder_and_from_the_configured_ones(tmp_path: Path) -> None:
    for folder, text in (("own", "a"), ("shared", "b")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{text}.j2").write_text(text)
    (tmp_path / "own" / "t.j2").write_text("{% include 'a.j2' %}{% include 'b.j2' %}")
    template = {"source": str(tmp_path / "own" / "t.j2"), "destination": str(tmp_path / "out")}
    await once(template=[template], template_folders=[str(tmp_path / "shared")])
    assert (tmp_path / "out").read_text() == "ab"


async def test_a_template_s_own_wait_goes_before_the_common_one(embedded_consul: ConsulServer, tmp_path: Path) -> None:
    embedded_consul.put("k", "1")
    quick, slow = tmp_path / "quick", tmp_path / "slow"
    templates = [
        {"contents": "{{ key('k') }}", "destination": str(quick), "wait": "10ms"},
        {"contents": "{{ key('k') }}", "destination": str(slow)},
    ]
    config = {"consul": {"address": embedded_consul.url}, "wait": {"min": "1h", "max": "2h"}, "template": templates}
    async with following(config):
        await asyncio.to_thread(embedded_consul.put, "k", "2")
        await eventually_async(lambda: quick.read_text() == "2")
        assert slow.read_text() == "1"


async def test_a_change_evaluates_what_reads_it_and_what_is_read_no_more_is_watched_no_more(
    embedded_consul: ConsulServer, tmp_path: Path
) -> None:
    for key in ("which", "a", "b", "other"):
        embedded_consul.put(key, "a" if key == "which" else "1")
    templates = [
        {"contents": "{{ key(key('which')) }}", "destination": str(tmp_path / "busy")},
        {"contents": "{{ key('other') }}", "destination": str(tmp_path / "idle")},
    ]
    config = {"consul": {"address": embedded_consul.url}, "wait": "30ms:1s", "template": templates}
    async with following(config) as runner:
        busy, idle = runner.units
        before = idle.state.evaluations
        assert set(map(str, runner.memory.queries)) == {"key(which)", "key(a)", "key(other)"}
        for number in range(2, 5):
            await asyncio.to_thread(embedded_consul.put, "a", str(number))
            await eventually_async(lambda n=number: (tmp_path / "busy").read_text() == str(n))  # type: ignore[misc]
        await asyncio.to_thread(embedded_consul.put, "which", "b")
        await eventually_async(lambda: set(map(str, runner.memory.queries)) == {"key(which)", "key(b)", "key(other)"})
        assert idle.state.evaluations == before < busy.state.evaluations and idle.burst is None


async def test_without_retries_the_first_failure_is_the_end(tmp_path: Path) -> None:
    template = {"contents": "{{ key('k') }}", "destination": str(tmp_path / "out")}
    with pytest.raises(
        GivenUpError, match=r"key\(k\): given up after 1 attempts: http://127.0.0.1:1 cannot be reached"
    ):
        await once(consul={"address": "127.0.0.1:1", "retry": {"enabled": False}}, template=[template])


async def test_a_child_is_told_after_a_random_splay(tmp_path: Path) -> None:
    script = f"trap 'touch {tmp_path / 'told'}' USR1; touch {tmp_path / 'ready'}; while :; do sleep 0.02; done"
    child = Child(
        Command.parse(script, splay=0.5),
        reload_signal=signal.SIGUSR1,
        kill_signal=signal.SIGKILL,
        kill_timeout=30,
    )
    running_child = asyncio.create_task(child.run())
    try:
        await eventually_async((tmp_path / "ready").exists)
        random.seed(7)
        expected = random.uniform(0, 0.5)
        random.seed(7)
        began = time.monotonic()
        child.changed()
        await eventually_async((tmp_path / "told").exists, interval=0.01)
        assert time.monotonic() - began >= expected > 0.1
    finally:
        running_child.cancel()
        await asyncio.wait({running_child})


async def test_a_server_that_is_too_far_behind_its_leader_is_not_asked_again() -> None:
    asked: list[dict[str, list[str]]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[0]:
            asked.append(parse_qs(line.split()[1].partition("?")[2], keep_blank_values=True))
            behind = 2001 if len(asked) == 1 else 0  # milliseconds
            writer.write(
                b"HTTP/1.1 200 OK\r\nX-Consul-Index: %d\r\nX-Consul-LastContact: %d\r\nContent-Length: 2\r\n\r\n[]"
                % (4 + len(asked), behind)
            )

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        source, cursor = ConsulSource(ConsulSettings(address=f"http://{host}:{port}", wait=3.0)), None
        for _ in range(3):
            cursor = (await source.poll(NodesQuery(), cursor)).cursor
        await source.close()
        server.close()
    assert asked == [
        {"stale": [""]},
        {"index": ["5"], "wait": ["3000ms"]},  # of the leader
        {"index": ["6"], "wait": ["3000ms"], "stale": [""]},
    ]


async def test_consul_may_listen_on_a_unix_socket(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = (await reader.readuntil(b"\r\n\r\n")).decode()
        body = json.dumps([{"Key": "k", "Value": "MQ==", "CreateIndex": 1, "ModifyIndex": 1, "Flags": 0}]).encode()
        found = b"200 OK" if asked.startswith("GET /v1/kv/k") else b"400 Bad Request"
        writer.write(b"HTTP/1.1 %s\r\nX-Consul-Index: 5\r\nContent-Length: %d\r\n\r\n%s" % (found, len(body), body))
        writer.close()

    async with await asyncio.start_unix_server(answer, tmp_path / "consul.sock"):
        async with Watcher(ConsulSettings(address=f"unix://{tmp_path}/consul.sock")) as watcher:
            assert await watcher.read(KeyQuery("k")) == "1"


def test_signals_a_log_file_and_a_rate_of_reloads(real_consul: ConsulServer, tmp_path: Path) -> None:
    real_consul.put("k", "1")
    out, log, reloads = tmp_path / "out", tmp_path / "own.log", tmp_path / "reloads"
    config = {
        "consul": {"address": real_consul.address},
        "kill_signal": "SIGQUIT",
        "reload_signal": "SIGUSR1",
        "log_file": str(log),
        "template": [{"contents": "{{ key('k') }}", "destination": str(out), "target": "slow"}],
        "target": [
            {"name": "slow", "reload": f"echo x >> {reloads}", "reloads_per_second": 0.01, "reload_burst": 1},
        ],
    }
    path = tmp_path / "c.yaml"
    path.write_text(json.dumps(config))
    status = f"127.0.0.1:{free_port()}"
    command = [*PROGRAM, "-config", str(path), "-status", status]
    with running(command, log=tmp_path / "daemon.log") as process:
        eventually(lambda: reloads.read_text() == "x\n", 60)
        real_consul.put("k", "2")
        config["template"] = [{"contents": "new {{ key('k') }}", "destination": str(out)}]  # without the slow target
        path.write_text(json.dumps(config))
        assert out.read_text() == "1"  # throttled
        process.send_signal(signal.SIGUSR1)
        eventually(lambda: out.read_text() == "new 2", 60)
        process.send_signal(signal.SIGQUIT)
        assert process.wait(30) == 0
    assert "configuration read again" in log.read_text() and reloads.read_text() == "x\n"


def test_a_dry_run_is_coloured_on_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("old\n")
    (tmp_path / "t.j2").write_text("new\n")
    here, there = pty.openpty()
    words = ["-dry", "-once", "-log-level", "error", "-template", f"{tmp_path / 't.j2'}:{tmp_path / 'out'}"]
    done = subprocess.run([*PROGRAM, *words], stdout=there, timeout=60, check=True)
    os.close(there)
    shown = ""
    with contextlib.suppress(OSError):  # the end of a terminal that nobody has open
        while some := os.read(here, 65536):
            shown += some.decode()
    os.close(here)
    assert (
        done.returncode == 0
        and re.search(r"\x1b\[31m\S*-old\x1b", shown)
        and re.search(r"\x1b\[32m\S*\+new\x1b", shown)
    )
    assert (tmp_path / "out").read_text() == "old\n"


async def test_syslog_gets_the_log_under_the_name_given(tmp_path: Path) -> None:
    address = tmp_path / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(str(address))
        syslog.settimeout(30)
        config = {
            "syslog": {"enabled": True, "facility": "LOCAL5", "name": "web", "address": str(address)},
            "once": True,
            "template": [{"contents": "x", "destination": str(tmp_path / "out")}],
        }
        (tmp_path / "c.json").write_text(json.dumps(config))
        done = await asyncio.to_thread(finished, [*PROGRAM, "-config", str(tmp_path)])
        first = syslog.recv(65536).decode()
    assert done.returncode == 0 and done.stderr == "" and (tmp_path / "out").read_text() == "x"
    # facility 21, severity info
    assert re.match(r"<174>web: \{.*\"event\"", first), first


@pytest.mark.parametrize(
    ("syslog", "said"),
    [
        ({"facility": "LOUD"}, "syslog.facility 'LOUD' does not exist; one of"),
        ({"address": "nowhere"}, "neither a socket's path nor host:port"),
        ({"address": "/no/such/socket"}, "/no/such/socket: no syslog listens there"),
    ],
)
def test_a_syslog_that_cannot_be_had_is_said(syslog: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        syslog_handler(SyslogConfig(**syslog))


def test_parse_only_may_stand_in_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('parse_only = true\n[[template]]\ncontents = "x"\ndestination = "/no/where"\n')
    done = finished([*PROGRAM, "-config", str(tmp_path), "-log-level", "WARN"])
    assert done.returncode == 0 and done.stdout == "1 templates can be used\n"


CONSUL_TEMPLATES_OWN = """
reload_signal: SIGHUP
kill_signal: SIGINT
max_stale: 10m
block_query_wait: 60s
log_level: warn
pid_file: /path/to/pid
wait: {min: 5s, max: 10s}
consul:
  address: 127.0.0.1:8500
  token: abcd1234
  auth: {enabled: true, username: test, password: test}
  retry: {enabled: true, attempts: 12, backoff: 250ms, max_backoff: 1m}
  ssl: {enabled: true, verify: false, cert: /c, key: /k, ca_cert: /a, ca_path: path/, server_name: my-server.com}
  transport:
    {dial_keep_alive: 5s, dial_timeout: 5s, disable_keep_alives: false, max_idle_conns_per_host: 5, tls_handshake_timeout: 5s}
vault:
  address: https://vault.service.consul:8200
  grace: 5m
  token: abcd1234
  vault_agent_token_file: /path/to/token
  unwrap_token: true
  renew_token: true
  retry: {attempts: 5}
  ssl: {enabled: true, verify: true}
  transport: {dial_timeout: 5s}
syslog: {enabled: true, facility: LOCAL5}
deduplicate: {enabled: true, prefix: consul-template/dedup/}
exec:
  command: /usr/bin/app
  splay: 5s
  env: {pristine: false, custom: [PATH=$PATH:/etc/myapp/bin], whitelist: [CONSUL_*], blacklist: [VAULT_*]}
  reload_signal: ""
  kill_signal: SIGINT
  kill_timeout: 2s
template:
  source: /path/on/disk/to/template.ctmpl
  destination: /path/on/disk/where/template/will/render.txt
  create_dest_dirs: true
  command: restart service foo
  command_timeout: 60s
  error_on_missing_key: false
  perms: 0600
  backup: true
  left_delimiter: "{{"
  right_delimiter: "}}"
  wait: {min: 2s, max: 10s}
"""


def test_a_configuration_of_consul_template_is_read_by_its_own_names(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(CONSUL_TEMPLATES_OWN)
    config = load([tmp_path / "c.yaml"], {}, {})
    (template,) = config.template
    assert (config.wait, template.wait, template.perms, template.command_timeout) == (
        Wait(5, 10),
        Wait(2, 10),
        0o600,
        60.0,
    )
    assert (config.exec.env.allowlist, config.exec.env.denylist) == (["CONSUL_*"], ["VAULT_*"])
    assert (config.max_stale, config.consul.retry.max_backoff, config.exec.kill_timeout) == (600.0, 60.0, 2.0)


def test_what_is_not_enabled_is_not_used() -> None:
    config = Config.model_validate(
        {
            "consul": {"auth": {"enabled": False, "username": "u", "password": "p"}},
            "exec": {"enabled": False, "command": "x"},
        }
    )
    assert consul_settings(config).username == "" and not config.exec.wanted
