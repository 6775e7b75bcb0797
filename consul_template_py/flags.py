"""consul-template's flags, by the same names: `-template in:out:command`, with one dash or two."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from consul_template_py.config import credentials, put
from consul_template_py.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])

# flag, where it goes in the configuration, help
Flag = tuple[str, tuple[str, ...], str]

_OF_A_CONNECTION: list[Flag] = [
    ("retry-attempts", ("retry", "attempts"), "end after so many failures in a row; 0: never"),
    ("retry-backoff", ("retry", "backoff"), "first pause after a failed query"),
    ("retry-max-backoff", ("retry", "max_backoff"), "longest pause after failed queries"),
    ("ssl-cert", ("ssl", "cert"), "client certificate"),
    ("ssl-key", ("ssl", "key"), "key of the client certificate"),
    ("ssl-ca-cert", ("ssl", "ca_cert"), "certificates to check the server's against"),
    ("ssl-ca-path", ("ssl", "ca_path"), "folder of such certificates"),
    ("ssl-server-name", ("ssl", "server_name"), "name expected in the server's certificate"),
    ("transport-dial-timeout", ("transport", "dial_timeout"), "longest wait for a connection"),
    ("transport-dial-keep-alive", ("transport", "dial_keep_alive"), "silence before it is probed"),
    ("transport-tls-handshake-timeout", ("transport", "tls_handshake_timeout"), "longest handshake"),
    (
        "transport-max-idle-conns-per-host",
        ("transport", "max_idle_conns_per_host"),
        "connections kept without a request on them",
    ),
]
_SWITCHES_OF_A_CONNECTION: list[Flag] = [
    ("retry", ("retry", "enabled"), "try again when a query has failed"),
    ("ssl", ("ssl", "enabled"), "TLS to the server"),
    ("ssl-verify", ("ssl", "verify"), "check the server's certificate"),
    (
        "transport-disable-keep-alives",
        ("transport", "disable_keep_alives"),
        "a connection of its own for each request",
    ),
]


def _of(server: str, flags: list[Flag]) -> list[Flag]:
    return [(f"{server}-{name}", (server, *place), text) for name, place, text in flags]


_VALUES: list[Flag] = [
    ("wait", ("wait",), "MIN[:MAX]: quiet period before a template is rendered again, and the longest wait"),
    ("consul-addr", ("consul", "address"), "address of Consul  [CONSUL_HTTP_ADDR]"),
    ("consul-token", ("consul", "token"), "ACL token; better given as CONSUL_HTTP_TOKEN or in a file"),
    ("consul-token-file", ("consul", "token_file"), "file that holds the ACL token"),
    ("consul-namespace", ("consul", "namespace"), "namespace of Consul Enterprise"),
    ("consul-transport-max-conns-per-host", ("consul", "max_connections"), "connections to Consul, at most"),
    *_of("consul", _OF_A_CONNECTION),
    ("vault-addr", ("vault", "address"), "address of Vault  [VAULT_ADDR]"),
    ("vault-token", ("vault", "token"), "token of Vault; better given as VAULT_TOKEN"),
    ("vault-agent-token-file", ("vault", "vault_agent_token_file"), "file in which a Vault agent keeps a token"),
    ("vault-namespace", ("vault", "namespace"), "namespace of Vault Enterprise"),
    *_of("vault", _OF_A_CONNECTION),
    ("vault-grace", ("vault", "grace"), "read and not used, as in consul-template since 0.20"),
    (
        "vault-default-lease-duration",
        ("vault", "default_lease_duration"),
        "how often a secret without a lease is read again",
    ),
    (
        "vault-lease-renewal-threshold",
        ("vault", "lease_renewal_threshold"),
        "share of a lease after which it is renewed",
    ),
    ("zookeeper", ("zookeeper", "hosts"), "host:port,…[/chroot] of ZooKeeper"),
    ("exec", ("exec", "command"), "run this program, and tell it when files have changed"),
    ("exec-kill-signal", ("exec", "kill_signal"), "signal that ends the child"),
    ("exec-kill-timeout", ("exec", "kill_timeout"), "how long it may take to end"),
    ("exec-reload-signal", ("exec", "reload_signal"), "signal that makes it reload; without one it is started again"),
    ("exec-splay", ("exec", "splay"), "random wait, at most this, before it is told"),
    ("max-stale", ("max_stale",), "how old an answer of a follower may be"),
    ("block-query-wait", ("block_query_wait",), "longest wait of one blocking query"),
    ("kill-signal", ("kill_signal",), "signal that ends this process cleanly"),
    ("reload-signal", ("reload_signal",), "signal that reads the configuration again"),
    ("pid-file", ("pid_file",), "file for the process id"),
    ("log-level", ("log_level",), "debug, info, warning or error"),
    ("log-file", ("log_file",), "file for the log, instead of stderr"),
    ("syslog-facility", ("syslog", "facility"), "facility for -syslog"),
    ("syslog-name", ("syslog", "name"), "name that -syslog logs under"),
    ("syntax", ("syntax",), "what templates are escaped for: none, nginx, haproxy, json, yaml or shell"),
    ("status", ("status", "listen"), "HOST:PORT of /status, /health and /metrics"),
    ("state-dir", ("state_dir",), "where unfinished reloads are noted"),
]
_SWITCHES: list[Flag] = [
    ("dedup", ("deduplicate", "enabled"), "of many processes with the same templates one renders for all"),
    ("syslog", ("syslog", "enabled"), "log to syslog"),
    *_of("consul", _SWITCHES_OF_A_CONNECTION),
    *_of("vault", _SWITCHES_OF_A_CONNECTION),
    ("vault-unwrap-token", ("vault", "unwrap_token"), "the token given is a wrapping token: the one in it is used"),
    ("vault-renew-token", ("vault", "renew_token"), "renew Vault's token before it ends"),
]


def options(command: F) -> F:
    """All flags that are keys of the configuration too."""
    for name, _, text in reversed(_VALUES):
        command = click.option(f"-{name}", f"--{name}", _variable(name), default=None, metavar="VALUE", help=text)(
            command
        )
    for name, _, text in reversed(_SWITCHES):
        command = click.option(
            f"-{name}/-no-{name}", f"--{name}/--no-{name}", _variable(name), default=None, help=text
        )(command)
    command = click.option(
        "-consul-auth",
        "--consul-auth",
        "consul_auth",
        default=None,
        metavar="USER[:PASSWORD]",
        help="HTTP basic authentication",
    )(command)
    return click.option(
        "-template", "--template", "template", multiple=True, metavar="IN:OUT[:COMMAND]", help="a template; repeatable"
    )(command)


def as_config(given: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that were given, nested as a configuration file is. Raises ConfigError."""
    made: dict[str, Any] = {}
    for name, place, _ in [*_VALUES, *_SWITCHES]:
        value = given.get(_variable(name))
        if value is not None:
            put(made, place, value)
    if given.get("consul_auth"):
        put(made, ("consul", "auth"), credentials(str(given["consul_auth"])))
    templates = [parse_template(text) for text in given.get("template") or ()]
    if templates:
        made["template"] = templates
    return made


def parse_template(text: str) -> dict[str, Any]:
    """`in:out` or `in:out:command`. Raises ConfigError."""
    parts = text.split(":", 2)
    if len(parts) < 2 or not parts[0] or not parts[1]:
        raise ConfigError(f"-template {text!r} is not in:out or in:out:command")
    made: dict[str, Any] = {"source": Path(parts[0]), "destination": Path(parts[1])}
    if len(parts) == 3 and parts[2]:
        made["command"] = parts[2]
    return made


def _variable(name: str) -> str:
    return name.replace("-", "_")
