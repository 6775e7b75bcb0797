"""`dromos consul-template` as its users run it: a process, a real Consul, files that appear."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from consul_template_py import flags, log_outputs
from consul_template_py.config import load
from consul_template_py.errors import ConfigError
from tests.support.consul import ConsulServer, OwnConsul
from tests.support.processes import Process, finished, free_port, running
from tests.support.waiting import eventually

UPSTREAMS = """{% for s in services() if s.name != "consul" %}upstream {{ s.name }} {
{% for i in service(s.name) %}  server {{ i.address }}:{{ i.port }};
{% endfor %}}
{% endfor %}"""

PROGRAM = [sys.executable, "-m", "consul_template_py.daemon"]


def arguments(consul: ConsulServer, *more: str) -> list[str]:
    return [*PROGRAM, "-consul-addr", consul.address, *more]


def run_once(consul: ConsulServer, *more: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return finished(arguments(consul, "-once", *more), timeout=timeout)


@contextlib.contextmanager
def daemon(consul: ConsulServer, tmp_path: Path, *more: str) -> Iterator[Process]:
    with running(arguments(consul, *more), log=tmp_path / "daemon.log") as process:
        yield process


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_once_renders_all_services_and_ends(real_consul: ConsulServer, tmp_path: Path) -> None:
    real_consul.register("web", "w1", port=8001, address="10.0.0.1", status="passing")
    real_consul.register("web", "w2", port=8002, address="10.0.0.2", status="critical")
    real_consul.register("api", "a1", port=9001)
    template, out = write(tmp_path / "in.j2", UPSTREAMS), tmp_path / "out" / "upstreams.conf"
    done = run_once(real_consul, "-template", f"{template}:{out}")
    assert done.returncode == 0, done.stderr
    assert out.read_text() == (
        "upstream api {\n  server 127.0.0.1:9001;\n}\nupstream web {\n  server 10.0.0.1:8001;\n}\n"
    )


def test_a_change_in_consul_is_in_the_file_and_the_command_has_run(real_consul: ConsulServer, tmp_path: Path) -> None:
    template, out, log = write(tmp_path / "in.j2", UPSTREAMS), tmp_path / "out", tmp_path / "reloads"
    with daemon(real_consul, tmp_path, "-template", f"{template}:{out}:echo x >> {log}"):
        eventually(lambda: log.read_text() == "x\n")
        real_consul.register("web", "w1", port=8001, address="10.0.0.1")
        eventually(lambda: "server 10.0.0.1:8001;" in out.read_text() and len(log.read_text().splitlines()) >= 2)
        ran = len(log.read_text().splitlines())  # Consul tells of the service and of its instance one after the other
        real_consul.deregister("w1")
        eventually(lambda: out.read_text() == "" and len(log.read_text().splitlines()) > ran)


def test_an_equal_file_is_neither_written_nor_reloaded(real_consul: ConsulServer, tmp_path: Path) -> None:
    template, out, log = write(tmp_path / "in.j2", "{{ key('k') }}"), write(tmp_path / "out", "v"), tmp_path / "log"
    real_consul.put("k", "v")
    before = out.stat()
    assert run_once(real_consul, "-template", f"{template}:{out}:touch {log}").returncode == 0
    assert (out.stat().st_ino, out.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert not log.exists()


def test_a_template_waits_for_a_key_that_does_not_exist_yet(real_consul: ConsulServer, tmp_path: Path) -> None:
    template, out = write(tmp_path / "in.j2", "a={{ key('a') }} b={{ key('b') }}"), tmp_path / "out"
    other, other_out = write(tmp_path / "other.j2", "here"), tmp_path / "other"
    real_consul.put("a", "1")
    with daemon(real_consul, tmp_path, "-template", f"{template}:{out}", "-template", f"{other}:{other_out}"):
        eventually(other_out.exists)
        assert not out.exists()
        real_consul.put("b", "2")
        assert eventually(lambda: out.exists() and out.read_text()) == "a=1 b=2"


def test_dry_shows_the_difference_and_writes_nothing(real_consul: ConsulServer, tmp_path: Path) -> None:
    real_consul.put("k", "new")
    template, out = write(tmp_path / "in.j2", "x\n{{ key('k') }}\n"), write(tmp_path / "out", "x\nold\n")
    done = run_once(real_consul, "-dry", "-template", f"{template}:{out}:touch {tmp_path / 'ran'}")
    assert done.returncode == 0, done.stderr
    assert "-old\n" in done.stdout and "+new\n" in done.stdout
    assert out.read_text() == "x\nold\n" and not (tmp_path / "ran").exists()


def test_one_bad_template_disturbs_no_other(real_consul: ConsulServer, tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.j2", "{% for %}")
    worse = write(tmp_path / "worse.j2", "{{ 1 / (key('zero') | int) }}")
    good, out, worse_out = write(tmp_path / "good.j2", "{{ key('k') }}"), tmp_path / "out", tmp_path / "worse.out"
    real_consul.put("k", "1")
    real_consul.put("zero", "2")
    templates = [f"{bad}:{tmp_path / 'bad.out'}", f"{worse}:{worse_out}", f"{good}:{out}"]
    status = f"127.0.0.1:{free_port()}"
    with daemon(real_consul, tmp_path, "-status", status, *(a for t in templates for a in ("-template", t))):
        eventually(lambda: out.read_text() == "1" and worse_out.read_text() == "0.5")
        real_consul.put("zero", "0")
        real_consul.put("k", "2")
        eventually(lambda: out.read_text() == "2")
        assert worse_out.read_text() == "0.5"
        shown = eventually(
            lambda: {
                Path(t["name"]).name: t for t in requests.get(f"http://{status}/status", timeout=30).json()["templates"]
            }
        )
        assert shown["bad.j2"]["state"] == "broken" and "bad.j2:1" in shown["bad.j2"]["error"]
        eventually(
            lambda: (
                "division by zero"
                in requests.get(f"http://{status}/status", timeout=30).json()["templates"][1]["error"]
            )
        )
        assert shown["good.j2"]["dependencies"] == ["key(k)"]
        health = requests.get(f"http://{status}/health", timeout=30)
        assert health.status_code == 503 and "bad.j2:1" in health.json()["parts"]["templates"]["why"]
        real_consul.put("zero", "1")
        eventually(lambda: worse_out.read_text() == "1.0")


def test_a_failed_command_is_tried_again_until_it_works(real_consul: ConsulServer, tmp_path: Path) -> None:
    real_consul.put("k", "1")
    template, out, gate = write(tmp_path / "in.j2", "{{ key('k') }}"), tmp_path / "out", tmp_path / "gate"
    config = write(tmp_path / "c.toml", "first_retry = '100ms'\nmost_retry = '200ms'\n")
    cmd = f"echo x >> {tmp_path / 'tries'}; test -e {gate} && touch {tmp_path / 'done'}"
    with daemon(real_consul, tmp_path, "-config", str(config), "-template", f"{template}:{out}:{cmd}"):
        eventually(lambda: len((tmp_path / "tries").read_text().split()) >= 3)
        assert out.read_text() == "1"
        gate.touch()
        eventually((tmp_path / "done").exists)


def test_a_reload_that_was_never_finished_is_finished_by_the_next_run(
    real_consul: ConsulServer, tmp_path: Path
) -> None:
    real_consul.put("k", "1")
    template, out = write(tmp_path / "in.j2", "{{ key('k') }}"), tmp_path / "out"
    spec, state = f"{template}:{out}:test -e {tmp_path / 'gate'} && touch {tmp_path / 'done'}", str(tmp_path / "state")
    failed = run_once(real_consul, "-state-dir", state, "-template", spec)
    assert failed.returncode == 1 and "ended with 1" in failed.stderr and out.read_text() == "1"
    (tmp_path / "gate").touch()
    assert run_once(real_consul, "-state-dir", state, "-template", spec).returncode == 0
    assert (tmp_path / "done").exists()


def test_an_outage_keeps_the_file_and_ends_by_itself(own_real_consul: OwnConsul, tmp_path: Path) -> None:
    own_real_consul.put("k", "1")
    template, out, status = write(tmp_path / "in.j2", "{{ key('k') }}"), tmp_path / "out", f"127.0.0.1:{free_port()}"
    with daemon(own_real_consul, tmp_path, "-status", status, "-template", f"{template}:{out}") as process:
        eventually(lambda: out.read_text() == "1")
        own_real_consul.kill()
        eventually(lambda: "key(k)" in requests.get(f"http://{status}/status", timeout=30).json()["failing"])
        assert out.read_text() == "1" and process.poll() is None
        own_real_consul.start()
        own_real_consul.put("k", "2")
        eventually(lambda: out.read_text() == "2")


def test_sighup_reads_configuration_and_templates_again(real_consul: ConsulServer, tmp_path: Path) -> None:
    real_consul.put("k", "1")
    template, out = write(tmp_path / "in.j2", "old {{ key('k') }}"), tmp_path / "out"
    config = write(tmp_path / "c.yaml", json.dumps({"template": [{"source": str(template), "destination": str(out)}]}))
    with daemon(real_consul, tmp_path, "-config", str(config)) as process:
        eventually(lambda: out.read_text() == "old 1")
        template.write_text("new {{ key('k') }}")
        process.send_signal(signal.SIGHUP)
        eventually(lambda: out.read_text() == "new 1")
        config.write_text("template: 5")
        process.send_signal(signal.SIGHUP)
        eventually(lambda: "the old one stays" in (tmp_path / "daemon.log").read_text())
        real_consul.put("k", "2")
        eventually(lambda: out.read_text() == "new 2")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"template": ["nonsense"]}, "is not in:out"),
        ({"template": ["a:b"], "wait": "soon"}, "min[:max]"),
        ({"template": ["a:b"], "log_level": "loud"}, "log_level"),
    ],
)
def test_a_mistake_in_a_flag_is_one_line(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        log_outputs.configure(load((), flags.as_config(given), {}))
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "there is no template"),
        (["-config", "/no/such/file.toml"], "cannot be read"),
        (["-template", "a:b", "-consul-addr", "gopher://x"], "is not an address"),
    ],
)
def test_a_mistake_ends_the_process_with_one_line(given: list[str], said: str, tmp_path: Path) -> None:
    done = finished([*PROGRAM, *given], cwd=tmp_path)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and said in errors[0] and "Traceback" not in done.stderr


def test_parse_only_says_whether_the_templates_can_be_used(real_consul: ConsulServer, tmp_path: Path) -> None:
    good, bad = write(tmp_path / "good.j2", "{{ key('k') }}"), write(tmp_path / "bad.j2", "x\n{% if %}")
    fine = finished([*PROGRAM, "-parse-only", "-template", f"{good}:o"])
    assert fine.returncode == 0 and fine.stdout == "1 templates can be used\n"
    wrong = finished([*PROGRAM, "-parse-only", "-template", f"{bad}:o"])
    assert wrong.returncode == 1 and "bad.j2:2" in wrong.stderr


def test_commands_run_in_the_order_of_the_configuration_when_all_files_are_there(
    real_consul: ConsulServer, tmp_path: Path
) -> None:
    real_consul.put("k", "1")
    template, log = write(tmp_path / "in.j2", "{{ key('k') }}"), tmp_path / "log"
    files = [tmp_path / f"out-{number}" for number in range(4)]
    say = "cat " + " ".join(str(file) for file in files)
    commands = [f"sleep 0.2; echo a $({say}) >> {log}", f"echo b >> {log}", f"sleep 0.1; echo c >> {log}"]
    specs = [f"{template}:{file}:{command}" for file, command in zip(files, [*commands, commands[1]], strict=True)]
    with daemon(real_consul, tmp_path, *(word for spec in specs for word in ("-template", spec))):
        eventually(
            lambda: log.read_text().splitlines() == ["a 1111", "b", "c"], 30
        )  # one command of two templates: once
        real_consul.put("k", "2")
        eventually(lambda: log.read_text().splitlines()[3:] == ["a 2222", "b", "c"], 30)
