"""Exec mode, shared targets, waiting, guards: what a configuration file can ask for, in a running daemon."""

import contextlib
import json
import signal
import stat
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from consul_template_py.config import load
from consul_template_py.errors import ConfigError
from consul_template_py.runner import Runner
from tests.support.consul import ConsulServer
from tests.support.processes import Process, finished, free_port, running
from tests.support.waiting import eventually

PROGRAM = [sys.executable, "-m", "consul_template_py.daemon"]

CHILD = """
import os, signal, sys, time
out = open(sys.argv[1], "a", buffering=1)
def say(number, frame):
    print(signal.Signals(number).name, open(sys.argv[2]).read(), file=out)
    if number in (signal.SIGINT, signal.SIGTERM):
        sys.exit(7)
for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGINT, signal.SIGTERM):
    signal.signal(number, say)
print("started", os.getpid(), open(sys.argv[2]).read(), os.environ.get("GREETING"), os.environ.get("SECRET"), file=out)
while True:
    time.sleep(0.05)
"""


class Setup:
    """A folder with a template of one key, and the configuration of a daemon."""

    def __init__(self, consul: ConsulServer, folder: Path) -> None:
        self.consul, self.folder = consul, folder
        self.template, self.out, self.said = folder / "in.j2", folder / "out", folder / "said"
        self.template.write_text("{{ key('k') }}")
        (folder / "child.py").write_text(CHILD)
        consul.put("k", "1")

    def config(self, **more: Any) -> list[str]:
        template = {"source": str(self.template), "destination": str(self.out), **more.pop("template", {})}
        path = self.folder / "config.yaml"
        path.write_text(json.dumps({"consul": {"address": self.consul.address}, "template": [template], **more}))
        return ["-config", str(path)]

    @property
    def child(self) -> list[str]:
        return [sys.executable, str(self.folder / "child.py"), str(self.said), str(self.out)]

    def lines(self) -> list[str]:
        return self.said.read_text().splitlines() if self.said.exists() else []

    @contextlib.contextmanager
    def daemon(self, *arguments: str, **env: str) -> Iterator[Process]:
        with running([*PROGRAM, *arguments], log=self.folder / "daemon.log", env=env) as process:
            yield process


@pytest.fixture
def setup(real_consul: ConsulServer, tmp_path: Path) -> Setup:
    return Setup(real_consul, tmp_path)


def test_the_child_starts_when_all_is_rendered_and_is_told_of_changes(setup: Setup) -> None:
    setup.consul.http.delete("kv/k")
    child = {
        "command": setup.child,
        "reload_signal": "SIGHUP",
        "env": {"custom": ["GREETING=hi"], "denylist": ["SEC*"]},
    }
    with setup.daemon(*setup.config(exec=child), SECRET="x") as process:
        eventually(lambda: not setup.out.exists() and setup.lines() == [])
        setup.consul.put("k", "1")
        started = eventually(setup.lines)[0].split()
        assert started[0] == "started" and started[2:] == ["1", "hi", "None"]
        setup.consul.put("k", "2")
        eventually(lambda: setup.lines()[1:] == ["SIGHUP 2"])
        process.send_signal(signal.SIGUSR1)
        eventually(lambda: setup.lines()[2:] == ["SIGUSR1 2"])
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert setup.lines()[3:] == ["SIGINT 2"]
        assert not Path(f"/proc/{started[1]}").exists()


def test_without_a_reload_signal_the_child_is_started_again(setup: Setup) -> None:
    with setup.daemon(*setup.config(exec={"command": setup.child})):
        first = eventually(setup.lines)[0].split()[1]
        setup.consul.put("k", "2")
        second = eventually(lambda: [line for line in setup.lines() if line.startswith("started")][1:])[0].split()
        assert second[1] != first and second[2] == "2"
        assert "SIGINT 2" in setup.lines()


def test_when_the_child_ends_so_do_we_with_its_code(setup: Setup) -> None:
    done = finished([*PROGRAM, *setup.config(exec={"command": "exit 42"})])
    assert done.returncode == 42 and "the child process ended with 42" in done.stderr


def test_a_child_that_ignores_its_signal_is_killed_in_time(setup: Setup) -> None:
    ready = setup.folder / "ready"
    stubborn = f"trap '' INT; touch {ready}; while true; do sleep 0.05; done"
    with setup.daemon(*setup.config(exec={"command": stubborn, "kill_timeout": "300ms"})) as process:
        eventually(ready.exists)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert 0.25 < time.monotonic() - began < 25  # it is 30 s by default


def test_sighup_leaves_the_child_alone(setup: Setup) -> None:
    with setup.daemon(*setup.config(exec={"command": setup.child, "reload_signal": "HUP"})) as process:
        eventually(setup.lines)
        setup.template.write_text("again {{ key('k') }}")
        process.send_signal(signal.SIGHUP)
        eventually(lambda: setup.lines()[1:] == ["SIGHUP again 1"])
        assert process.poll() is None


def test_a_target_runs_once_for_all_of_its_templates(setup: Setup) -> None:
    other, other_out, log = setup.folder / "other.j2", setup.folder / "other.out", setup.folder / "log"
    other.write_text("other {{ key('k') }}")
    more = {"target": "web"}
    config = setup.folder / "c.toml"
    config.write_text(
        f"""
        [consul]
        address = "{setup.consul.address}"
        [[template]]
        source = "{setup.template}"
        destination = "{setup.out}"
        target = "{more["target"]}"
        [[template]]
        source = "{other}"
        destination = "{other_out}"
        target = "web"
        [[target]]
        name = "web"
        check = "cat {{staged}} >> {log}; echo ' check' >> {log}; ! grep -q bad {{staged}}"
        reload = "echo reload >> {log}"
        """
    )
    with setup.daemon("-config", str(config)):
        eventually(lambda: log.exists() and log.read_text().endswith("reload\n"))
        log.write_text("")
        setup.consul.put("k", "2")
        eventually(lambda: log.read_text() == "2other 2 check\nreload\n")
        setup.consul.put("k", "bad")
        eventually(lambda: "badother bad check" in log.read_text())
        assert (setup.out.read_text(), other_out.read_text()) == ("2", "other 2")
        setup.consul.put("k", "3")
        eventually(lambda: (setup.out.read_text(), other_out.read_text()) == ("3", "other 3"))


def test_wait_makes_one_change_of_a_burst(setup: Setup) -> None:
    setup.template.write_text("{% for p in tree('burst') %}{{ p.key }} {% endfor %}")
    setup.consul.put("burst/0", "x")
    log, applied = setup.folder / "log", setup.folder / "applied"
    command = f"echo x >> {log}; cp {setup.out} {applied}"
    config = setup.config(template={"command": command, "wait": "600ms:10s"})
    with setup.daemon(*config):
        eventually(lambda: applied.read_text() == "0 ")  # the first one does not wait

        def reloads(first: int) -> int:
            """Those of nine changes in a row, when the last of them has been applied."""
            before = len(log.read_text().split())
            for number in range(first, first + 9):
                setup.consul.put(f"burst/{number}", "x")
            eventually(lambda: set(applied.read_text().split()) == set(map(str, range(first + 9))))
            return len(log.read_text().split()) - before

        # Where this machine pauses in the middle of a burst there are two.
        bursts = (reloads(1 + 9 * number) for number in range(6))
        assert any(count == 1 for count in bursts)


def test_the_guard_holds_a_sudden_drop_back_and_lets_a_lasting_one_through(setup: Setup) -> None:
    lasts, held, status = setup.consul.name(), setup.consul.name(), f"127.0.0.1:{free_port()}"
    for name in (lasts, held):
        for number in range(4):
            setup.consul.register(name, f"{name}-{number}", port=number)
    ports = "{{% for i in service('{}') %}}{{{{ i.port }}}} {{% endfor %}}"
    setup.template.write_text(f"{ports.format(lasts)}| {ports.format(held)}")
    guard = {
        "max_drop_percent": 40,
        "hold_down": "2s",
        "rules": {f"service({held}*": {"max_drop_percent": 10, "hold_down": "1h"}},
    }
    with setup.daemon(*setup.config(guard=guard), "-status", status):
        eventually(lambda: setup.out.read_text() == "0 1 2 3 | 0 1 2 3 ")
        for name in (lasts, held):
            for number in range(1, 4):
                setup.consul.deregister(f"{name}-{number}")
        eventually(lambda: setup.out.read_text() == "0 | 0 1 2 3 ")
        (why,) = requests.get(f"http://{status}/status", timeout=30).json()["held_back"].items()
        assert why[0] == f"service({held}|passing)" and "more than max_drop_percent 10" in why[1]
        eventually(lambda: "held_back 1.0" in requests.get(f"http://{status}/metrics", timeout=30).text)
    told = [json.loads(line) for line in (setup.folder / "daemon.log").read_text().splitlines() if lasts in line]
    events = {line["event"]: datetime.fromisoformat(line["timestamp"]) for line in told}
    assert (events["no longer held back"] - events["held back"]).total_seconds() >= 1.99


def test_permissions_owner_backup_and_folders(setup: Setup) -> None:
    out = setup.folder / "deep" / "er" / "out"
    more = {"destination": str(out), "perms": "0600", "user": "1234", "group": "1234", "backup": True}
    with setup.daemon(*setup.config(template=more)):
        eventually(out.exists)
        found = out.stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o600, 1234, 1234)
        setup.consul.put("k", "2")
        eventually(lambda: out.read_text() == "2" and (out.parent / "out.bak").read_text() == "1")


def test_a_folder_of_templates_gives_a_folder_of_files(setup: Setup) -> None:
    source, target = setup.folder / "templates", setup.folder / "files"
    (source / "sub").mkdir(parents=True)
    (source / "a.conf.j2").write_text("a {{ key('k') }}")
    (source / "sub" / "b.ctmpl").write_text('b {{ key "k" }}')
    config = setup.config(template={"source": str(source), "destination": str(target)})
    done = finished([*PROGRAM, *config, "-once"])
    assert done.returncode == 0, done.stderr
    assert (target / "a.conf").read_text() == "a 1" and (target / "sub" / "b").read_text() == "b 1"


def test_contents_may_stand_in_the_configuration_itself(setup: Setup) -> None:
    config = setup.folder / "c.yaml"
    template = {"contents": "{# syntax: nginx #}x {{ key('k') }};", "destination": str(setup.out)}
    config.write_text(json.dumps({"consul": {"address": setup.consul.address}, "template": [template]}))
    setup.consul.put("k", "1; evil")
    wrong = finished([*PROGRAM, "-config", str(config), "-once"])
    assert wrong.returncode == 1 and "1; evil" in wrong.stderr and not setup.out.exists()
    setup.consul.put("k", "fine")
    assert finished([*PROGRAM, "-config", str(config), "-once"]).returncode == 0
    assert setup.out.read_text() == "x fine;"


def test_later_files_win_and_flags_win_over_files(setup: Setup) -> None:
    one, two = setup.folder / "conf" / "1.toml", setup.folder / "conf" / "2.yaml"
    one.parent.mkdir()
    one.write_text(
        f'max_stale = "9s"\n[consul]\naddress = "nowhere:1"\n[[template]]\ncontents = "1"\ndestination = "{setup.out}"\n'
    )
    two.write_text(json.dumps({"template": [{"contents": "2", "destination": f"{setup.out}2"}]}))
    arguments = ["-config", str(one.parent), "-consul-addr", setup.consul.address, "-once"]
    done = finished([*PROGRAM, *arguments], env={"CONSUL_HTTP_ADDR": "nowhere:2"})
    assert done.returncode == 0, done.stderr
    assert (setup.out.read_text(), Path(f"{setup.out}2").read_text()) == ("1", "2")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"template": {"perms": "rw"}}, "perms"),
        ({"template": {"user": "no-such-user"}}, "no-such-user"),
        ({"template": {"target": "nope"}}, "no [[target]] is named nope"),
        ({"template": {"contents": "x"}}, "source or contents, and not both"),
        ({"nonsense": 1}, "nonsense"),
        ({"template": {"exec": {"command": "x", "env": {"custom": ["x"]}}}}, "NAME=value"),
        ({"deduplicate": {"enabled": True, "ttl": "1s"}}, "deduplicate.ttl"),
        ({"wait": "5s:1s"}, "wait"),
        ({"target": [{"name": "a"}, {"name": "a"}]}, "two targets have the same name"),
    ],
)
def test_a_mistake_in_the_configuration_is_one_line(tmp_path: Path, config: dict[str, Any], said: str) -> None:
    template = {"source": str(tmp_path / "in.j2"), "destination": str(tmp_path / "out"), **config.pop("template", {})}
    (tmp_path / "config.yaml").write_text(json.dumps({"template": [template], **config}))
    with pytest.raises(ConfigError) as caught:
        Runner(load([tmp_path / "config.yaml"], {}, {}))
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "said"),
    [({"nonsense": 1}, "nonsense"), ({"exec": {"command": "x", "kill_signal": "SIGNOPE"}}, "SIGNOPE")],
)
def test_a_mistake_ends_the_process_with_that_line(setup: Setup, config: dict[str, Any], said: str) -> None:
    done = finished([*PROGRAM, *setup.config(**config), "-once"])
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and len(errors) == 1 and said in errors[0] and "Traceback" not in done.stderr


def test_a_status_page_and_metrics(setup: Setup) -> None:
    name, status = setup.consul.name(), f"127.0.0.1:{free_port()}"
    setup.consul.register(name, f"{name}-bad", port=1, Meta={"v": "a; b"})
    setup.consul.register(name, f"{name}-good", port=2, Meta={"v": "ok"})
    setup.template.write_text(f"{{% for i in service('{name}') %}}v {{{{ i.meta.v }}}};\n{{% endfor %}}")
    with setup.daemon(*setup.config(syntax="nginx", pid_file=str(setup.folder / "pid")), "-status", status) as process:
        eventually(lambda: setup.out.exists() and setup.out.read_text() == "v ok;\n")
        eventually(lambda: requests.get(f"http://{status}/health", timeout=30).status_code == 200)
        (template,) = requests.get(f"http://{status}/status", timeout=30).json()["templates"]
        assert template["state"] == "rendered" and template["dependencies"] == [f"service({name}|passing)"]
        assert template["refused"] == [
            {"value": "'a; b'", "why": "';' outside of quotes would be read as nginx's own syntax"}
        ] or (template["refused"][0]["value"] == "'a; b'")
        metrics = requests.get(f"http://{status}/metrics", timeout=30).text
        assert f'dromos_consul_template_refused_values{{template="{setup.template}"}} 1.0' in metrics
        assert "dromos_consul_template_watches 1.0" in metrics
        assert (setup.folder / "pid").read_text() == f"{process.pid}\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert not (setup.folder / "pid").exists()
