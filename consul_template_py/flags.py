"""consul-template's flags, by the same names: `-template in:out:command`, with one dash or two."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from consul_template_py.config import credentials, put
from consul_template_py.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])

# flag, where it goes in the configuration, help
_VALUES: list[tuple[str, tuple[str, ...], str]] = [
    ("wait", ("wait",), "MIN[:MAX]: quiet period before a template is rendered again, and the longest wait"),
    ("consul-addr", ("consul", "address"), "address of Consul  [CONSUL_HTTP_ADDR]"),
    ("consul-token", ("consul", "token"), "ACL token; better given as CONSUL_HTTP_TOKEN or in a file"),
    ("consul-token-file", ("consul", "token_file"), "file that holds the ACL token"),
    ("consul-namespace", ("consul", "namespace"), "namespace of Consul Enterprise"),
    ("consul-retry-backoff", ("consul", "retry", "backoff"), "first pause after a failed query"),
    ("consul-retry-max-backoff", ("consul", "retry", "max_backoff"), "longest pause after failed queries"),
    ("consul-retry-attempts", ("consul", "retry", "attempts"), "end after so many failures in a row; 0: never"),
    ("consul-ssl-cert", ("consul", "ssl", "cert"), "client certificate"),
    ("consul-ssl-key", ("consul", "ssl", "key"), "key of the client certificate"),
    ("consul-ssl-ca-cert", ("consul", "ssl", "ca_cert"), "certificates to check Consul's against"),
    ("consul-ssl-ca-path", ("consul", "ssl", "ca_path"), "folder of such certificates"),
    ("consul-ssl-server-name", ("consul", "ssl", "server_name"), "name expected in Consul's certificate"),
    ("consul-transport-max-conns-per-host", ("consul", "max_connections"), "connections to Consul, at most"),
    ("consul-transport-dial-timeout", ("consul", "transport", "dial_timeout"), "longest wait for a connection"),
    ("consul-transport-dial-keep-alive", ("consul", "transport", "dial_keep_alive"), "silence before it is probed"),
    ("consul-transport-tls-handshake-timeout", ("consul", "transport", "tls_handshake_timeout"), "longest handshake"),
    (
        "consul-transport-max-idle-conns-per-host",
        ("consul", "transport", "max_idle_conns_per_host"),
        "connections kept without a request on them",
    ),
    ("vault-addr", ("vault", "address"), "address of Vault  [VAULT_ADDR]"),
    ("vault-token", ("vault", "token"), "token of Vault; better given as VAULT_TOKEN"),
    ("vault-agent-token-file", ("vault", "vault_agent_token_file"), "file in which a Vault agent keeps a token"),
    ("vault-namespace", ("vault", "namespace"), "namespace of Vault Enterprise"),
    ("vault-retry-attempts", ("vault", "retry", "attempts"), "end after so many failures in a row; 0: never"),
    ("vault-retry-backoff", ("vault", "retry", "backoff"), "first pause after a failed query"),
    ("vault-retry-max-backoff", ("vault", "retry", "max_backoff"), "longest pause after failed queries"),
    ("vault-ssl-cert", ("vault", "ssl", "cert"), "client certificate"),
    ("vault-ssl-key", ("vault", "ssl", "key"), "key of the client certificate"),
    ("vault-ssl-ca-cert", ("vault", "ssl", "ca_cert"), "certificates to check Vault's against"),
    ("vault-ssl-ca-path", ("vault", "ssl", "ca_path"), "folder of such certificates"),
    ("vault-ssl-server-name", ("vault", "ssl", "server_name"), "name expected in Vault's certificate"),
    ("vault-transport-dial-timeout", ("vault", "transport", "dial_timeout"), "longest wait for a connection"),
    ("vault-transport-dial-keep-alive", ("vault", "transport", "dial_keep_alive"), "silence before it is probed"),
    ("vault-transport-tls-handshake-timeout", ("vault", "transport", "tls_handshake_timeout"), "longest handshake"),
    (
        "vault-transport-max-idle-conns-per-host",
        ("vault", "transport", "max_idle_conns_per_host"),
        "connections kept without a request on them",
    ),
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
_SWITCHES: list[tuple[str, tuple[str, ...], str]] = [
    ("dedup", ("deduplicate", "enabled"), "of many processes with the same templates one renders for all"),
    ("syslog", ("syslog", "enabled"), "log to syslog"),
    ("consul-retry", ("consul", "retry", "enabled"), "try again when a query has failed"),
    ("consul-ssl", ("consul", "ssl", "enabled"), "TLS to Consul"),
    ("consul-ssl-verify", ("consul", "ssl", "verify"), "check Consul's certificate"),
    (
        "consul-transport-disable-keep-alives",
        ("consul", "transport", "disable_keep_alives"),
        "a connection of its own for each request",
    ),
    ("vault-retry", ("vault", "retry", "enabled"), "try again when a query has failed"),
    ("vault-ssl", ("vault", "ssl", "enabled"), "TLS to Vault"),
    (
        "vault-transport-disable-keep-alives",
        ("vault", "transport", "disable_keep_alives"),
        "a connection of its own for each request",
    ),
    ("vault-unwrap-token", ("vault", "unwrap_token"), "the token given is a wrapping token: the one in it is used"),
    ("vault-ssl-verify", ("vault", "ssl", "verify"), "check Vault's certificate"),
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
