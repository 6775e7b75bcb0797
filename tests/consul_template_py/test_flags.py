"""consul-template's flags, by the same names: what each of them sets, and that a connection is made as they say."""

import contextlib
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from consul_template_py import flags
from consul_template_py.config import Config, load
from consul_template_py.daemon import command
from consul_template_py.query import KeyQuery, NodesQuery
from consul_template_py.quiescence import Wait
from consul_template_py.runner import consul_settings, vault_settings
from consul_template_py.watch import Watcher
from daemonkit.goflags import GoFlagsCommand
from tests.support.certificates import make_certificate
from tests.support.consul import ConsulServer
from tests.support.processes import finished
from tests.support.waiting import eventually_async

TABLE: list[tuple[str, str, Any]] = [
    ("-wait 2s:6s", "wait", Wait(2, 6)),
    ("-consul-addr c:1", "consul.address", "c:1"),
    ("-consul-token t", "consul.token", "t"),
    ("-consul-token-file /t", "consul.token_file", Path("/t")),
    ("-consul-namespace n", "consul.namespace", "n"),
    ("-consul-auth u:p:q", "consul.auth.password", "p:q"),
    ("-consul-retry-attempts 12", "consul.retry.attempts", 12),
    ("-no-consul-retry", "consul.retry.enabled", False),
    ("-consul-retry-backoff 100ms", "consul.retry.backoff", 0.1),
    ("-consul-retry-max-backoff 1m", "consul.retry.max_backoff", 60.0),
    ("-consul-ssl", "consul.ssl.enabled", True),
    ("-no-consul-ssl-verify", "consul.ssl.verify", False),
    ("-consul-ssl-cert /c", "consul.ssl.cert", Path("/c")),
    ("-consul-ssl-key /k", "consul.ssl.key", Path("/k")),
    ("-consul-ssl-ca-cert /a", "consul.ssl.ca_cert", Path("/a")),
    ("-consul-ssl-ca-path /p", "consul.ssl.ca_path", Path("/p")),
    ("-consul-ssl-server-name s", "consul.ssl.server_name", "s"),
    ("-consul-transport-max-conns-per-host 7", "consul.max_connections", 7),
    ("-consul-transport-dial-timeout 1s", "consul.transport.dial_timeout", 1.0),
    ("-consul-transport-dial-keep-alive 2s", "consul.transport.dial_keep_alive", 2.0),
    ("-consul-transport-tls-handshake-timeout 3s", "consul.transport.tls_handshake_timeout", 3.0),
    ("-consul-transport-max-idle-conns-per-host 4", "consul.transport.max_idle_conns_per_host", 4),
    ("-consul-transport-disable-keep-alives", "consul.transport.disable_keep_alives", True),
    ("-vault-addr http://v", "vault.address", "http://v"),
    ("-vault-token t", "vault.token", "t"),
    ("-vault-agent-token-file /t", "vault.vault_agent_token_file", Path("/t")),
    ("-vault-namespace n", "vault.namespace", "n"),
    ("-no-vault-renew-token", "vault.renew_token", False),
    ("-no-vault-retry", "vault.retry.enabled", False),
    ("-vault-retry-attempts 3", "vault.retry.attempts", 3),
    ("-vault-retry-backoff 1s", "vault.retry.backoff", 1.0),
    ("-vault-retry-max-backoff 2s", "vault.retry.max_backoff", 2.0),
    ("-no-vault-ssl-verify", "vault.ssl.verify", False),
    ("-vault-ssl-cert /c", "vault.ssl.cert", Path("/c")),
    ("-vault-ssl-key /k", "vault.ssl.key", Path("/k")),
    ("-vault-ssl-ca-cert /a", "vault.ssl.ca_cert", Path("/a")),
    ("-vault-ssl-ca-path /p", "vault.ssl.ca_path", Path("/p")),
    ("-vault-ssl-server-name s", "vault.ssl.server_name", "s"),
    ("-vault-ssl=false", "vault.ssl.enabled", False),
    ("-vault-unwrap-token", "vault.unwrap_token", True),
    ("-vault-transport-dial-timeout 1s", "vault.transport.dial_timeout", 1.0),
    ("-vault-transport-dial-keep-alive 2s", "vault.transport.dial_keep_alive", 2.0),
    ("-vault-transport-tls-handshake-timeout 3s", "vault.transport.tls_handshake_timeout", 3.0),
    ("-vault-transport-max-idle-conns-per-host 4", "vault.transport.max_idle_conns_per_host", 4),
    ("-vault-transport-disable-keep-alives", "vault.transport.disable_keep_alives", True),
    ("-vault-grace 15s", "vault.grace", 15.0),
    ("-vault-default-lease-duration 90s", "vault.default_lease_duration", 90.0),
    ("-vault-lease-renewal-threshold 0.5", "vault.lease_renewal_threshold", 0.5),
    ("-consul-ssl-verify=false", "consul.ssl.verify", False),
    ("-dedup=true", "deduplicate.enabled", True),
    ("-zookeeper z:2181/a", "zookeeper.hosts", "z:2181/a"),
    ("-exec run", "exec.command", "run"),
    ("-exec-kill-signal SIGTERM", "exec.kill_signal", "SIGTERM"),
    ("-exec-kill-timeout 5s", "exec.kill_timeout", 5.0),
    ("-exec-reload-signal SIGHUP", "exec.reload_signal", "SIGHUP"),
    ("-exec-splay 1s", "exec.splay", 1.0),
    ("-max-stale 3s", "max_stale", 3.0),
    ("-block-query-wait 30s", "block_query_wait", 30.0),
    ("-kill-signal SIGQUIT", "kill_signal", "SIGQUIT"),
    ("-reload-signal SIGUSR1", "reload_signal", "SIGUSR1"),
    ("-pid-file /p", "pid_file", Path("/p")),
    ("-log-level debug", "log_level", "debug"),
    ("-log-file /l", "log_file", Path("/l")),
    ("-syslog", "syslog.enabled", True),
    ("-syslog-facility LOCAL5", "syslog.facility", "LOCAL5"),
    ("-syslog-name web", "syslog.name", "web"),
    ("-dedup", "deduplicate.enabled", True),
    ("-syntax nginx", "syntax", "nginx"),
    ("-status 127.0.0.1:1", "status.listen", "127.0.0.1:1"),
    ("-state-dir /s", "state_dir", Path("/s")),
]


def read(words: str) -> Config:
    found: dict[str, Any] = {}

    @click.command(cls=GoFlagsCommand)
    @flags.options
    def catch(**given: Any) -> None:
        found.update(given)

    done = CliRunner().invoke(catch, words.split())
    assert done.exit_code == 0, done.output
    return load((), flags.as_config(found), {})


@pytest.mark.parametrize(("words", "place", "expected"), TABLE)
@pytest.mark.parametrize("dashes", ["-", "--"])
def test_a_flag_sets_its_key_with_one_dash_or_two(words: str, place: str, expected: Any, dashes: str) -> None:
    assert at(read(re.sub("^-", dashes, words)), place) == expected


def test_every_flag_has_a_row() -> None:
    shown = {words.split()[0].partition("=")[0].removeprefix("-no-").removeprefix("-") for words, _, _ in TABLE}
    others = {"-template", "-config", "-once", "-dry", "-parse-only", "-v", "-version", "-help"}  # tested as a daemon's
    known = {
        option.removeprefix("-")
        for parameter in command.params
        for option in parameter.opts
        if not option.startswith("--") and option not in others
    }
    assert known == shown


def test_a_template_is_in_out_and_a_command_that_may_hold_colons() -> None:
    (template,) = read("-template a:b:c:d").template
    assert (template.source, template.destination, template.command) == (Path("a"), Path("b"), "c:d")


@pytest.mark.parametrize(
    ("name", "value", "place", "expected"),
    [
        ("CONSUL_HTTP_ADDR", "c:1", "consul.address", "c:1"),
        ("CONSUL_HTTP_TOKEN", "t", "consul.token", "t"),
        ("CONSUL_HTTP_TOKEN_FILE", "/t", "consul.token_file", Path("/t")),
        ("CONSUL_HTTP_AUTH", "u:p:q", "consul.auth.password", "p:q"),
        ("CONSUL_NAMESPACE", "n", "consul.namespace", "n"),
        ("CONSUL_HTTP_SSL", "true", "consul.ssl.enabled", True),
        ("CONSUL_HTTP_SSL_VERIFY", "false", "consul.ssl.verify", False),
        ("CONSUL_CACERT", "/c", "consul.ssl.ca_cert", Path("/c")),
        ("CONSUL_CAPATH", "/c", "consul.ssl.ca_path", Path("/c")),
        ("CONSUL_CLIENT_CERT", "/c", "consul.ssl.cert", Path("/c")),
        ("CONSUL_CLIENT_KEY", "/c", "consul.ssl.key", Path("/c")),
        ("CONSUL_TLS_SERVER_NAME", "n", "consul.ssl.server_name", "n"),
        ("VAULT_ADDR", "http://v", "vault.address", "http://v"),
        ("VAULT_TOKEN", "t", "vault.token", "t"),
        ("VAULT_NAMESPACE", "n", "vault.namespace", "n"),
        ("VAULT_UNWRAP_TOKEN", "1", "vault.unwrap_token", True),
        ("VAULT_RENEW_TOKEN", "0", "vault.renew_token", False),
        ("VAULT_SKIP_VERIFY", "true", "vault.ssl.verify", False),
        ("VAULT_SKIP_VERIFY", "false", "vault.ssl.verify", True),
        ("VAULT_CACERT", "/c", "vault.ssl.ca_cert", Path("/c")),
        ("VAULT_CAPATH", "/c", "vault.ssl.ca_path", Path("/c")),
        ("VAULT_CLIENT_CERT", "/c", "vault.ssl.cert", Path("/c")),
        ("VAULT_CLIENT_KEY", "/c", "vault.ssl.key", Path("/c")),
        ("VAULT_TLS_SERVER_NAME", "n", "vault.ssl.server_name", "n"),
        ("CONSUL_TEMPLATE_LOG", "debug", "log_level", "debug"),
    ],
)
def test_the_environment_is_read(name: str, value: str, place: str, expected: Any) -> None:
    assert at(load((), {}, {name: value}), place) == expected


def test_a_flag_wins_over_the_environment() -> None:
    environment = {"CONSUL_HTTP_ADDR": "e:1", "CONSUL_HTTP_TOKEN": "e", "CONSUL_NAMESPACE": "e"}
    over = {"consul": {"address": "f:1", "token": "f", "namespace": "f"}}
    consul = load((), over, environment).consul
    assert (consul.address, consul.token.get_secret_value(), consul.namespace) == ("f:1", "f", "f")


def at(config: Config, place: str) -> Any:
    value: Any = config
    for name in place.split("."):
        value = getattr(value, name)
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value


@pytest.mark.parametrize(
    ("words", "url"),
    [
        ("-vault-addr v:1", "https://v:1"),  # as Vault's own tools have it
        ("-vault-addr v:1 -vault-ssl=false", "http://v:1"),
        ("-vault-addr http://v:1 -vault-ssl", "http://v:1"),
    ],
)
def test_the_scheme_of_vaults_address(words: str, url: str) -> None:
    assert str(vault_settings(read(words)).endpoint) == url


@pytest.mark.parametrize("word", ["-v", "-version", "--version"])
def test_the_version(word: str) -> None:
    done = CliRunner().invoke(command, [word])
    assert done.exit_code == 0 and re.fullmatch(r"consul-template of dromos \d+\.\d+\.\d+\n", done.output)


def test_a_token_is_never_shown() -> None:
    config = read("-consul-token s3cret -vault-token s3cret -consul-auth u:s3cret")
    assert "s3cret" not in repr(config) + repr(consul_settings(config)) + repr(
        vault_settings(config.model_copy(update={"vault": config.vault.model_copy(update={"address": "http://v"})}))
    )


# The connection


class TlsFront:
    """TLS, with a certificate that clients have to show, in front of a Consul."""

    def __init__(self, consul: ConsulServer, folder: Path) -> None:
        self.ca = make_certificate(folder / "ca.pem", "ca")
        self.cert = self.key = make_certificate(folder / "c.pem", "consul.test", ca=self.ca)
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.ca))
        self.context.load_cert_chain(self.cert)
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.consul = consul
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listening.getsockname()[1]}"
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listening.shutdown(socket.SHUT_RDWR)  # else it is accepted from for ever
        self._accepting.join()
        self.listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with self.context.wrap_socket(client, server_side=True) as secure:
                upstream = socket.create_connection((self.consul.host, self.consul.port))
                threading.Thread(target=_pump, args=(upstream, secure), daemon=True).start()
                _pump(secure, upstream)
        except OSError:
            client.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


@pytest.fixture
def front(embedded_consul: ConsulServer, tmp_path: Path) -> Iterator[TlsFront]:
    made = TlsFront(embedded_consul, tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("given", ["-consul-ssl-ca-cert {ca}", "-consul-ssl-ca-path {folder}", "-no-consul-ssl-verify"])
async def test_consul_is_reached_over_tls_with_a_client_s_certificate(
    front: TlsFront, tmp_path: Path, given: str
) -> None:
    if "ca-path" in given:
        (tmp_path / "certificates").mkdir()
        (tmp_path / "certificates" / "ca.pem").write_bytes(front.ca.read_bytes())
        subprocess.run(["openssl", "rehash", str(tmp_path / "certificates")], check=True)
    front.consul.put("k", "1")
    words = f"-consul-ssl -consul-addr {front.address} -consul-ssl-server-name consul.test "
    words += f"-consul-ssl-cert {front.cert} -consul-ssl-key {front.key} "
    words += given.format(ca=front.ca, folder=tmp_path / "certificates")
    async with Watcher(consul_settings(read(words))) as watcher:
        assert await watcher.read(KeyQuery("k")) == "1"


@pytest.mark.parametrize(
    "given",
    [
        "-consul-ssl-cert {cert} -consul-ssl-key {key} -consul-ssl-server-name consul.test",  # of nobody we know
        "-consul-ssl-cert {cert} -consul-ssl-key {key} -consul-ssl-ca-cert {ca}",  # another name than it has
        "-consul-ssl-ca-cert {ca} -consul-ssl-server-name consul.test",  # without our certificate
    ],
)
async def test_a_server_that_cannot_be_trusted_gets_no_request(front: TlsFront, given: str) -> None:
    words = f"-consul-ssl -consul-addr {front.address} " + given.format(ca=front.ca, cert=front.cert, key=front.key)
    async with Watcher(consul_settings(read(words)), first_retry=0.05, most_retry=0.1) as watcher:
        state = watcher.watch(KeyQuery("k")).state
        await eventually_async(lambda: state.error, 60)
        assert not state.received


async def test_what_a_request_carries(tmp_path: Path) -> None:
    """The token from its file, basic authentication, the namespace; and without keep-alive each has its own connection."""
    (tmp_path / "token").write_text("the-token\n")
    seen: list[str] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for _ in range(2):
            client, _ = listening.accept()
            with client:
                seen.append(client.recv(65536).decode())
                client.sendall(b"HTTP/1.1 200 OK\r\nX-Consul-Index: 5\r\nContent-Length: 2\r\n\r\n[]")
                client.recv(1)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    words = f"-consul-addr 127.0.0.1:{listening.getsockname()[1]} -consul-token-file {tmp_path / 'token'} "
    words += "-consul-auth user:pass -consul-namespace team -consul-transport-disable-keep-alives"
    async with Watcher(consul_settings(read(words))) as watcher:
        for _ in range(2):
            assert await watcher.read(NodesQuery()) == ()
    thread.join(30)
    listening.close()
    assert len(seen) == 2
    for request in seen:
        assert "X-Consul-Token: the-token\r\n" in request
        assert "Authorization: Basic dXNlcjpwYXNz\r\n" in request
        assert "ns=team" in request.split("\r\n")[0]


def test_giving_up_after_so_many_attempts_ends_it_with_one_line(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "consul_template_py.daemon"]
    (tmp_path / "t.j2").write_text("{{ key('k') }}")
    flags = ["-consul-addr", "127.0.0.1:1", "-consul-retry-attempts", "3", "-consul-retry-backoff", "10ms"]
    template = f"{tmp_path / 't.j2'}:{tmp_path / 'out'}"
    done = finished([*program, *flags, "-template", template], env={"CONSUL_HTTP_ADDR": ""})
    assert done.returncode == 1
    assert "error: key(k): given up after 3 attempts: http://127.0.0.1:1 cannot be reached" in done.stderr
