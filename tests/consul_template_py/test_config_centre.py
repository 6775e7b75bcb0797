"""The configuration centre: inheritance, versions, crashes between any two steps, permissions, outages, delivery."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from consul_template_py.config_centre import formats, model
from consul_template_py.config_centre.cli import command
from consul_template_py.config_centre.model import Change, Version
from consul_template_py.config_centre.store import CentreError, Store
from consul_template_py.errors import ConfigError
from consul_template_py.sources.consul import ConsulSettings
from tests.support.consul import ConsulServer, OwnConsul, running_real_consul
from tests.support.processes import finished, running
from tests.support.waiting import eventually

PROGRAM = [sys.executable, "-m", "consul_template_py.config_centre.cli"]


class Cli:
    def __init__(self, consul: ConsulServer, folder: Path) -> None:
        token = {"DROMOS_CONFIG_CONSUL_TOKEN": consul.token} if consul.token else {}
        self.env = {
            **os.environ,
            "DROMOS_CONFIG_CONSUL_ADDR": consul.url,
            "DROMOS_CONFIG_CACHE_DIR": str(folder / "cache"),
            **token,
        }

    def run(self, *arguments: str, code: int = 0, stdin: str = "") -> str:
        done = CliRunner().invoke(command, arguments, env=self.env, input=stdin)
        self.stderr = done.stderr
        assert done.exit_code == code, done.stderr + done.stdout
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))


@pytest.fixture
def cli(any_consul: ConsulServer, tmp_path: Path) -> Cli:
    return Cli(any_consul, tmp_path)


@pytest.fixture
def store(any_consul: ConsulServer) -> Store:
    return Store(ConsulSettings(address=any_consul.url))


# pure

PATHS = st.sampled_from(["a", "b/c", "b/d", "e"])
VALUES = st.dictionaries(PATHS, st.text(max_size=5))
WANTED = st.dictionaries(PATHS, st.none() | st.text(max_size=5))


@given(VALUES, st.lists(WANTED, max_size=8), st.data())
def test_the_values_of_any_version_can_be_had_back(
    start: dict[str, str], steps: list[dict[str, str | None]], data: Any
) -> None:
    values, versions, seen = dict(start), [], [dict(start)]
    for number, wanted in enumerate(steps, 1):
        changes = model.changes_to(values, wanted)
        versions.append(Version(number, 0.0, "me", "why", changes))
        for change in changes:
            if change.after is None:
                del values[change.path]
            else:
                values[change.path] = change.after
        seen.append(dict(values))
    back_to = data.draw(st.integers(0, len(steps)))
    assert model.values_at(values, versions[back_to:]) == seen[back_to]


def test_the_nearest_environment_wins() -> None:
    layers = [("prod", {"a": "1"}), ("base", {"a": "0", "b": "2"})]
    found = {path: (value.value, value.origin) for path, value in model.resolve(layers).items()}
    assert found == {"a": ("1", "prod"), "b": ("2", "base")}


def test_environments_inherit_from_base_unless_said_otherwise() -> None:
    assert model.chain("prod", {}) == ("prod", "base")
    assert model.chain("canary", {"canary": "prod"}) == ("canary", "prod", "base")
    assert model.chain("alone", {"alone": None}) == ("alone",)
    with pytest.raises(ConfigError, match="in a circle: a -> b -> a"):
        model.chain("a", {"a": "b", "b": "a"})


@pytest.mark.parametrize("path", ["", "/", "a//b", "a/../b", "a\nb", "x" * 401])
def test_hostile_paths_are_refused(path: str) -> None:
    with pytest.raises(ConfigError):
        model.check_path(path)


@pytest.mark.parametrize("name", ["", "Prod", "a/b", "..", "a b"])
def test_hostile_environments_are_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        model.check_environment(name)


TREES = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9]{0,3}(/[a-z][a-z0-9]{0,3}){0,2}", fullmatch=True),
    st.text(st.characters(codec="utf-8"), max_size=12),
    max_size=6,
).filter(lambda tree: not any(other.startswith(f"{path}/") for path in tree for other in tree))


@settings(max_examples=150, deadline=None)
@given(TREES, st.sampled_from(["json", "yaml", "toml", "properties"]))
def test_what_is_exported_can_be_imported(tree: dict[str, str], format: str) -> None:
    assert formats.read(formats.write(tree, format), format) == tree


@given(
    st.dictionaries(
        st.sampled_from(["a/b", "c-d", "e"]),
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
    )
)
def test_a_shell_reads_the_env_format_back(tree: dict[str, str]) -> None:
    script = formats.write(tree, "env") + "".join(f"printf '%s\\0' \"${name}\"; " for name in formats.variables(tree))
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=True)
    assert done.stdout.decode() == "".join(f"{value}\0" for value in tree.values())


def test_two_paths_for_one_variable_are_refused() -> None:
    with pytest.raises(ConfigError, match="a-b and a/b would both be the variable A_B"):
        formats.variables({"a-b": "1", "a/b": "2"})


# the command


def test_set_get_and_inherit(cli: Cli) -> None:
    cli.run("set", "base", "web/port=80", "web/host=localhost", "-m", "start")
    assert cli.run("set", "prod", "web/host=example.com", "-m", "go live") == "version 1: 1 changed\n"
    assert cli.run("get", "prod", "web/host") == "example.com\n"
    assert cli.run("get", "prod") == "web/host=example.com\nweb/port=80\n"
    assert cli.run("get", "prod", "web", "--origin") == "web/host=example.com  (prod)\nweb/port=80  (base)\n"
    assert cli.json("get", "dev")["web/host"] == {"value": "localhost", "origin": "base"}
    cli.run("inherit", "canary", "prod")
    assert cli.run("get", "canary", "web/host", "--origin") == "example.com  (prod)\n"
    assert "canary  version 0  <- prod <- base" in cli.run("environments")
    cli.run("unset", "prod", "web/host", "-m", "back")
    assert cli.run("get", "prod", "web/host") == "localhost\n"
    cli.run("get", "prod", "nope", code=1)
    assert cli.stderr == "error: prod has no value at nope\n"
    assert cli.run("set", "base", "web/port=80", "-m", "again") == "nothing to change\n"


def test_values_from_files_and_stdin(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "cert").write_text("line 1\nline 2\n")
    cli.run("set", "dev", f"cert=@{tmp_path / 'cert'}", "in=@-", "eq=a=b", "-m", "x", stdin="typed\n")
    assert {k: v["value"] for k, v in cli.json("get", "dev").items()} == {
        "cert": "line 1\nline 2\n",
        "eq": "a=b",
        "in": "typed\n",
    }


def test_history_says_who_what_and_why_and_hides_secrets(cli: Cli) -> None:
    cli.run("set", "prod", "port=1", "db/password=hush", "-m", "first", "--author", "ann")
    cli.run("set", "prod", "port=2", "-m", "second", "--author", "bob")
    text = cli.run("history", "prod")
    assert text.index("bob: second") < text.index("ann: first")
    assert "- port=1" in text and "+ port=2" in text and "hush" not in text and "db/password=***" in text
    assert "hush" in cli.run("history", "prod", "--show-secrets")
    assert [version["number"] for version in cli.json("history", "prod", "db")] == [1]


def test_rolling_back_makes_a_new_version(cli: Cli) -> None:
    cli.run("set", "prod", "a=1", "-m", "1")
    cli.run("set", "prod", "a=2", "b=2", "-m", "2")
    cli.run("unset", "prod", "a", "-m", "3")
    assert cli.run("rollback", "prod", "1", "-m", "it broke") == "version 4: 2 changed\n"
    assert cli.run("get", "prod") == "a=1\n"
    assert cli.json("history", "prod")[0]["reason"] == "roll back to version 1: it broke"
    cli.run("rollback", "prod", "0", "-m", "empty")
    cli.run("get", "prod", code=0)
    cli.run("rollback", "prod", "99", "-m", "x", code=2)
    assert "has no version 99" in cli.stderr


def test_diff_between_environments_and_since_a_version(cli: Cli) -> None:
    cli.run("set", "base", "a=1", "b=1", "-m", "x")
    cli.run("set", "prod", "a=2", "-m", "x")
    cli.run("set", "prod", "c=3", "-m", "x")
    assert cli.json("diff", "dev", "prod") == [
        {"path": "a", "before": "1", "after": "2"},
        {"path": "c", "before": None, "after": "3"},
    ]
    assert cli.run("diff", "prod", "--since", "1") == "  + c=3\n"


def test_export_and_import(cli: Cli, tmp_path: Path) -> None:
    cli.run("set", "base", "web/port=80", "-m", "x")
    cli.run("set", "prod", "web/name=a b", "-m", "x")
    assert cli.run("export", "prod") == "WEB_NAME='a b'\nWEB_PORT=80\n"
    assert cli.run("export", "prod", "--own", "--format", "properties") == "web.name=a b\n"
    cli.run("export", "prod", "-o", str(tmp_path / "x.yaml"))
    assert (tmp_path / "x.yaml").read_text() == "web:\n  name: a b\n  port: '80'\n"
    assert (tmp_path / "x.yaml").stat().st_mode & 0o777 == 0o600
    cli.run("set", "other", "old=1", "-m", "x")
    cli.run("import", "other", str(tmp_path / "x.yaml"), "--replace", "-m", "copy")
    assert cli.run("export", "other", "--own") == cli.run("export", "prod")
    (tmp_path / "bad.json").write_text("{")
    cli.run("import", "other", str(tmp_path / "bad.json"), "-m", "x", code=2)
    assert cli.stderr.startswith("error: not json")


def test_without_a_reason_nothing_is_changed(cli: Cli) -> None:
    cli.run("set", "prod", "a=1", code=2)
    assert "--reason" in cli.stderr


def test_templates_read_the_centre(cli: Cli, any_consul: ConsulServer, tmp_path: Path) -> None:
    cli.run("set", "base", "web/port=80", "web/host=localhost", "-m", "x")
    cli.run("set", "prod", "web/host=example.com", "-m", "x")
    (tmp_path / "t.j2").write_text(
        "{{ config('prod', 'web/host') }}:{{ config('prod', 'no', 'd') }} {{ config('canary') | length }}"
    )
    arguments = ["-once", "-consul-addr", any_consul.address, "-template", f"{tmp_path / 't.j2'}:{tmp_path / 'out'}"]
    done = finished([sys.executable, "-m", "consul_template_py.daemon", *arguments])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_text() == "example.com:d 2"


# the store


def test_writers_at_once_lose_nothing(any_consul: ConsulServer) -> None:
    def write(name: str) -> None:
        mine = Store(ConsulSettings(address=any_consul.url))
        for number in range(5):
            mine.commit("prod", {f"{name}/{number}": "x", "shared": f"{name}{number}"}, author=name, reason="r")

    threads = [threading.Thread(target=write, args=(name,)) for name in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = Store(ConsulSettings(address=any_consul.url))
    history = store.history("prod")
    assert [version.number for version in history] == list(range(15, 0, -1))
    values = store.values("prod")
    assert len(values) == 16
    replayed: dict[str, str] = {}
    for version in reversed(history):
        for change in version.changes:
            assert replayed.get(change.path) == change.before
            assert change.after is not None
            replayed[change.path] = change.after
    assert replayed == values


class DiesError(BaseException):
    pass


@pytest.mark.parametrize("after", range(1, 6))
def test_a_writer_that_dies_after_any_step_is_finished_by_the_next(
    any_consul: ConsulServer, store: Store, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.commit("prod", {"a": "0", "b": "0"}, author="x", reason="r")
    dying = Store(ConsulSettings(address=any_consul.url))
    steps = 0

    def counted(write: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps > after:
                raise DiesError
            return write(*arguments, **more)

        return call

    for name in ("put", "delete"):
        monkeypatch.setattr(dying._client.kv, name, counted(getattr(dying._client.kv, name)))
    with contextlib.suppress(DiesError):
        dying.commit("prod", {"a": "1", "b": None, "c": "1"}, author="dying", reason="r")
    store.commit("prod", {"d": "2"}, author="next", reason="r")
    assert store.values("prod") == {"a": "1", "c": "1", "d": "2"}
    assert [(v.number, v.author) for v in store.history("prod")] == [(3, "next"), (2, "dying"), (1, "x")]


def test_a_writer_that_sleeps_through_others_undoes_nothing(any_consul: ConsulServer, store: Store) -> None:
    store.commit("prod", {"a": "0"}, author="x", reason="r")
    head, index = store._finish_what_was_begun("prod")
    late = Version(head + 1, 0.0, "late", "r", (Change("a", "0", "1"),))
    assert store._put(f"prod/history/{late.number:010d}", late.encode(), cas=0)
    other = Store(ConsulSettings(address=any_consul.url))
    other.commit("prod", {"a": "0"}, author="other", reason="back to what it was")
    store._carry_out("prod", late, index)
    assert other.values("prod") == {"a": "0"} and other.head("prod") == 3


@pytest.fixture(scope="module")
def guarded_consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnConsul]:
    """With ACLs on, and denying by default; the token is the master's."""
    acl = 'acl { enabled = true default_policy = "deny" tokens { master = "root" agent = "root" } }'
    with running_real_consul(tmp_path_factory.mktemp("guarded"), hcl=acl, token="root") as consul:
        eventually(lambda: consul.http.put("acl/policy", {"Name": "ready", "Rules": ""}).ok)
        yield consul


@pytest.fixture
def cli_of(guarded_consul: OwnConsul, tmp_path: Path) -> Iterator[Callable[[str], Cli]]:
    """The command with a token that has these rules, of a centre with values in base, dev and prod."""
    with_all = Cli(guarded_consul, tmp_path / "root")
    guarded_consul.http.delete("kv/dromos/config/", recurse="")
    for environment, values in (("base", ["host=b", "port=1"]), ("dev", ["host=d"]), ("prod", ["host=p"])):
        with_all.run("set", environment, *values, "-m", "begin")

    def with_rules(rules: str) -> Cli:
        name = uuid.uuid4().hex
        guarded_consul.http.put("acl/policy", {"Name": name, "Rules": rules}).raise_for_status()
        made = guarded_consul.http.put("acl/token", {"Policies": [{"Name": name}]}).json()
        cli = Cli(guarded_consul, tmp_path / name)
        cli.env["DROMOS_CONFIG_CONSUL_TOKEN"] = made["SecretID"]
        return cli

    yield with_rules


ALL_READ, ALL_WRITE = (f'key_prefix "dromos/config/" {{ policy = "{policy}" }}' for policy in ("read", "write"))
DEV_ONLY = 'key_prefix "dromos/config/base/" { policy = "read" } key_prefix "dromos/config/dev/" { policy = "write" }'


def test_every_verb_with_a_token_that_may_write(cli_of: Callable[[str], Cli], tmp_path: Path) -> None:
    cli, file = cli_of(ALL_WRITE), tmp_path / "values.json"
    assert cli.run("set", "dev", "host=d2", "-m", "x") == "version 2: 1 changed\n"
    assert cli.run("get", "dev", "host") == "d2\n"
    assert cli.run("diff", "dev", "prod") == "  - host=d2\n  + host=p\n"
    assert "+ host=d2" in cli.run("history", "dev")
    assert cli.run("rollback", "dev", "1", "-m", "x") == "version 3: 1 changed\n"
    assert cli.run("export", "dev", "-o", str(file)) == "" and json.loads(file.read_text()) == {
        "host": "d",
        "port": "1",
    }
    assert cli.run("import", "staging", str(file), "-m", "x") == "version 1: 2 changed\n"
    assert cli.run("unset", "staging", "host", "-m", "x") == "version 2: 1 changed\n"
    cli.run("inherit", "staging", "prod")
    assert cli.run("get", "staging", "host", "--origin") == "p  (prod)\n"
    assert "staging  version 2  <- prod <- base" in cli.run("environments")
    deliver = ["deliver", "staging", "--", "sh", "-c", 'test "$HOST:$PORT" = p:1 && exit 9']
    assert finished([*PROGRAM, *deliver], env=cli.env).returncode == 9


def test_every_verb_with_a_token_that_may_only_read(cli_of: Callable[[str], Cli], tmp_path: Path) -> None:
    cli, file = cli_of(ALL_READ), tmp_path / "values.json"
    assert cli.run("get", "dev", "host") == "d\n"
    assert cli.run("diff", "dev", "prod") == "  - host=d\n  + host=p\n"
    assert "+ host=d" in cli.run("history", "dev")
    cli.run("export", "dev", "-o", str(file))
    assert cli.run("environments").count("version 1") == 3
    for words in (
        ["set", "dev", "host=x", "-m", "x"],
        ["unset", "dev", "host", "-m", "x"],
        ["rollback", "dev", "0", "-m", "x"],
        ["import", "dev", str(file), "-m", "x"],
        ["inherit", "dev", "prod"],
    ):
        cli.run(*words, code=1)
        assert cli.stderr.startswith("error: Consul does not permit this: give a token"), words
        assert cli.stderr.count("\n") == 1
    assert cli.run("history", "dev", "--json") == cli_of(ALL_READ).run("history", "dev", "--json")


def test_a_token_gives_and_denies_environments(cli_of: Callable[[str], Cli], tmp_path: Path) -> None:
    cli = cli_of(DEV_ONLY)
    cli.run("set", "dev", "host=x", "-m", "x")
    assert cli.run("get", "dev") == "host=x\nport=1\n"
    assert [line.split()[0] for line in cli.run("environments").splitlines()] == ["base", "dev"]
    (tmp_path / "values.json").write_text("{}")
    for words in (
        ["get", "prod"],
        ["diff", "dev", "prod"],
        ["history", "prod"],
        ["export", "prod"],
        ["set", "prod", "host=x", "-m", "x"],
        ["set", "base", "host=x", "-m", "x"],
        ["unset", "prod", "host", "-m", "x"],
        ["rollback", "prod", "0", "-m", "x"],
        ["import", "prod", str(tmp_path / "values.json"), "--replace", "-m", "x"],
        ["inherit", "prod", "dev"],
    ):
        cli.run(*words, code=1)
        assert cli.stderr.startswith("error: Consul does not permit this: give a token"), words
    deliver = ["deliver", "dev", "--", "sh", "-c", "exit $((PORT + 8))"]
    assert finished([*PROGRAM, *deliver], env=cli.env).returncode == 9
    log = tmp_path / "deliver.log"
    with running([*PROGRAM, "deliver", "prod", "--file", str(tmp_path / "prod.env")], log=log, env=cli.env):
        eventually(lambda: "give a token that may read this" in log.read_text())
        assert not (tmp_path / "prod.env").exists(), "nor with what base has"


def test_without_a_token_nothing_is_shown(cli_of: Callable[[str], Cli]) -> None:
    cli = cli_of("")
    for words in (["get", "dev"], ["history", "dev"], ["export", "dev", "--own"], ["diff", "dev", "--since", "0"]):
        cli.run(*words, code=1)
        assert "does not permit this" in cli.stderr, words
    assert cli.run("environments") == "", "a list has what the token may see"


def test_the_copy_on_this_machine_serves_when_consul_is_away(own_any_consul: OwnConsul, tmp_path: Path) -> None:
    cli = Cli(own_any_consul, tmp_path)
    cli.run("set", "prod", "a=1", "-m", "x")
    cli.run("get", "prod")
    own_any_consul.kill()
    assert cli.run("get", "prod", "a") == "1\n"
    assert "this is the copy of" in cli.stderr
    assert cli.run("export", "prod") == "A=1\n"
    assert all(entry.stat().st_mode & 0o077 == 0 for entry in (tmp_path / "cache").iterdir())
    cli.run("get", "dev", code=3)
    cli.run("set", "prod", "a=2", "-m", "x", code=3)
    assert cli.stderr.startswith("error: Consul at ") and cli.stderr.count("\n") == 1


def test_a_damaged_history_is_said_and_not_guessed(any_consul: ConsulServer, store: Store) -> None:
    store.commit("prod", {"a": "1"}, author="x", reason="r")
    any_consul.put("dromos/config/prod/history/0000000001", "nonsense")
    with pytest.raises(CentreError, match="is not a version"):
        store.history("prod")


# delivery


def test_files_follow_complete_versions_and_the_command_runs(cli: Cli, tmp_path: Path) -> None:
    out, env, log = tmp_path / "app.json", tmp_path / "app.conf", tmp_path / "log"
    cli.run("set", "base", "a=1", "-m", "x")
    arguments = ["deliver", "prod", "--file", str(out), "--file", f"{env}:env", "--command", f"echo x >> {log}"]
    with running([*PROGRAM, *arguments], log=tmp_path / "deliver.log", env=cli.env):
        eventually(lambda: json.loads(out.read_text()) == {"a": "1"} and env.read_text() == "A=1\n")
        cli.run("set", "prod", "a=2", "b/c=3", "-m", "x")
        eventually(lambda: json.loads(out.read_text()) == {"a": "2", "b": {"c": "3"}})
        cli.run("set", "base", "d=4", "-m", "x")
        eventually(lambda: json.loads(out.read_text())["d"] == "4" and log.read_text() == "x\nx\nx\n")
        assert out.stat().st_mode & 0o777 == 0o600


SHOW = "import os, sys, time; print(os.getpid(), os.environ.get('A_B'), file=open(sys.argv[1], 'a'))\nwhile True: time.sleep(0.05)"


def test_a_program_gets_variables_and_is_started_again_when_they_change(cli: Cli, tmp_path: Path) -> None:
    log = tmp_path / "log"
    cli.run("set", "prod", "a/b=1", "-m", "x")
    arguments = ["deliver", "prod", "--", sys.executable, "-c", SHOW, str(log)]
    with running([*PROGRAM, *arguments], log=tmp_path / "deliver.log", env=cli.env) as process:
        first = eventually(lambda: log.read_text().split())
        assert first[1] == "1"
        cli.run("set", "prod", "a/b=2", "-m", "x")
        second = eventually(lambda: log.read_text().split()[2:])
        assert second[1] == "2" and second[0] != first[0]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert not Path(f"/proc/{second[0]}").exists()


def test_a_program_that_ends_ends_the_delivery_with_its_code(cli: Cli) -> None:
    cli.run("set", "prod", "a=1", "-m", "x")
    done = finished([*PROGRAM, "deliver", "prod", "--", "sh", "-c", "exit 9"], env=cli.env)
    assert done.returncode == 9


def test_delivery_starts_from_the_copy_when_consul_is_away(own_any_consul: OwnConsul, tmp_path: Path) -> None:
    cli, out = Cli(own_any_consul, tmp_path), tmp_path / "app.env"
    cli.run("set", "prod", "a=1", "-m", "x")
    cli.run("get", "prod")
    own_any_consul.kill()
    words = ["deliver", "prod", "--patience", "0.2", "--file", str(out)]
    with running([*PROGRAM, *words], log=tmp_path / "deliver.log", env=cli.env):
        eventually(lambda: out.read_text() == "A=1\n", timeout=30)
        eventually(lambda: "the copy on this machine serves" in (tmp_path / "deliver.log").read_text())
        own_any_consul.start()
        cli.run("set", "prod", "a=2", "-m", "x")
        eventually(lambda: out.read_text() == "A=2\n", timeout=30)
