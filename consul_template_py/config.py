"""Configuration files, TOML or YAML, with consul-template's names and defaults; and what this package adds to them.

Several files and folders may be given: a later one wins, key by key; lists of templates and targets are joined. Flags win over files,
files over the environment variables of Consul's and Vault's own tools. Durations are seconds, or text such as "250ms".
"""

import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from consul_template_py.errors import ConfigError
from consul_template_py.guard import Guard
from consul_template_py.quiescence import Wait, parse_wait
from daemonkit.settings import Seconds

SyntaxName = Literal["none", "nginx", "haproxy", "json", "yaml", "shell"]
Words = str | list[str]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


def _wait(value: object) -> object:
    if isinstance(value, str):
        return parse_wait(value)
    if isinstance(value, Mapping):
        if value.get("enabled") is False:
            return Wait()
        text = ":".join(str(value[name]) for name in ("min", "max") if name in value)
        return parse_wait(text)
    return value


WaitConfig = Annotated[Wait, BeforeValidator(_wait)]


class SslConfig(_Model):
    enabled: bool = False
    verify: bool = True
    cert: Path | None = None
    key: Path | None = None
    ca_cert: Path | None = None
    ca_path: Path | None = None
    server_name: str | None = None


class RetryConfig(_Model):
    """An outage is no reason to end, unless somebody wants it to be: `attempts` in a row, or the first with `enabled` false."""

    enabled: bool = True
    attempts: int = Field(default=0, ge=0, description="0: for ever")
    backoff: Seconds = Field(default=0.25, gt=0)
    max_backoff: Seconds = Field(default=60.0, gt=0)


class TransportConfig(_Model):
    dial_timeout: Seconds = Field(default=5.0, gt=0)
    dial_keep_alive: Seconds = Field(default=30.0, ge=0)
    tls_handshake_timeout: Seconds = Field(default=10.0, gt=0)
    disable_keep_alives: bool = False
    max_idle_conns_per_host: int = Field(default=100, ge=0)


class AuthConfig(_Model):
    enabled: bool = True
    username: str = ""
    password: SecretStr = SecretStr("")


class ConsulConfig(_Model):
    address: str = "127.0.0.1:8500"
    namespace: str = ""
    token: SecretStr = SecretStr("")
    token_file: Path | None = None
    auth: AuthConfig = AuthConfig()
    ssl: SslConfig = SslConfig()
    retry: RetryConfig = RetryConfig()
    transport: TransportConfig = TransportConfig()
    max_connections: int = Field(default=160, ge=1)


class VaultSslConfig(SslConfig):
    enabled: bool = Field(default=True, description="TLS, where the address does not say http or https")


class VaultConfig(_Model):
    enabled: bool = True
    address: str = ""
    namespace: str = ""
    token: SecretStr = SecretStr("")
    vault_agent_token_file: Path | None = None
    unwrap_token: bool = Field(default=False, description="the token is a wrapping token, and the one in it is used")
    renew_token: bool = True
    ssl: VaultSslConfig = VaultSslConfig()
    retry: RetryConfig = RetryConfig()
    transport: TransportConfig = TransportConfig()
    default_lease_duration: Seconds = Field(default=300.0, gt=0)
    lease_renewal_threshold: float = Field(default=0.9, gt=0, le=1)
    grace: Seconds = Field(default=0.0, ge=0, description="read and not used, as in consul-template since 0.20")


class ZookeeperConfig(_Model):
    hosts: str = Field(default="", description="host:port,host:port[/chroot]")
    auth: SecretStr = Field(default=SecretStr(""), description="scheme:credential, such as digest:user:password")
    timeout: Seconds = Field(default=10.0, gt=0)


class FilesConfig(_Model):
    interval: Seconds = Field(default=1.0, gt=0)
    folder: Path | None = Field(default=None, description="the only place that `file` reads from")
    max_bytes: int = Field(default=16 * 1024 * 1024, gt=0)


class EnvConfig(_Model):
    pristine: bool = False
    custom: list[str] = []
    allowlist: list[str] = Field(default=[], validation_alias=AliasChoices("allowlist", "whitelist"))
    denylist: list[str] = Field(default=[], validation_alias=AliasChoices("denylist", "blacklist"))


class TemplateExecConfig(_Model):
    enabled: bool = True
    command: Words = ""
    timeout: Seconds = Field(default=30.0, gt=0)
    splay: Seconds = Field(default=0.0, ge=0)
    env: EnvConfig = EnvConfig()


class GuardConfig(_Model):
    min_instances: int = Field(default=0, ge=0)
    max_drop_percent: float = Field(default=100.0, gt=0, le=100)
    hold_down: Seconds = Field(default=10.0, ge=0)

    def guard(self) -> Guard:
        return Guard(self.min_instances, self.max_drop_percent, self.hold_down)


class GuardsConfig(GuardConfig):
    rules: dict[str, GuardConfig] = {}


class TemplateConfig(_Model):
    source: Path | None = None
    contents: str | None = None
    destination: Path | None = None
    language: Literal["auto", "jinja", "go"] = "auto"
    syntax: SyntaxName | None = None
    create_dest_dirs: bool = True
    perms: str | int | None = None
    user: str | None = None
    group: str | None = None
    backup: bool = False
    wait: WaitConfig | None = None
    exec: TemplateExecConfig = TemplateExecConfig()
    command: Words = ""
    command_timeout: Seconds | None = Field(default=None, gt=0)
    error_on_missing_key: bool = False
    left_delimiter: str = "{{"
    right_delimiter: str = "}}"
    target: str = ""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.source is None) == (self.contents is None):
            raise ValueError("a template needs source or contents, and not both")
        if self.destination is None:
            raise ValueError(f"template {self.source or 'of contents'} needs a destination")
        if self.target and (self.command or self.exec.command):
            raise ValueError(f"template {self.destination}: a target has its own command; give one of the two")
        return self


class TargetConfig(_Model):
    """A reload that several templates share: run once for all that changed together."""

    name: str = Field(min_length=1)
    check: Words = ""
    reload: Words = ""
    verify: Words = ""
    timeout: Seconds = Field(default=30.0, gt=0)
    splay: Seconds = Field(default=0.0, ge=0)
    env: EnvConfig = EnvConfig()
    roll_back: bool = True
    reloads_per_second: float = Field(default=0.0, ge=0, description="0: no limit")
    reload_burst: int = Field(default=2, ge=1)


class ExecConfig(_Model):
    """Exec mode: a child that runs as long as this process, and is told of new configuration."""

    enabled: bool = True
    command: Words = ""
    splay: Seconds = Field(default=0.0, ge=0)
    reload_signal: str = ""
    kill_signal: str = "SIGINT"
    kill_timeout: Seconds = Field(default=30.0, gt=0)
    env: EnvConfig = EnvConfig()

    @property
    def wanted(self) -> bool:
        return self.enabled and bool(self.command)


class DeduplicateConfig(_Model):
    enabled: bool = False
    prefix: str = "consul-template/dedup/"
    ttl: Seconds = Field(default=15.0, ge=10, description="of the leader's session; Consul allows no less than 10 s")


class StatusConfig(_Model):
    listen: str = Field(default="", description="host:port of /status, /health and /metrics; empty: none")


class SyslogConfig(_Model):
    enabled: bool = False
    facility: str = "LOCAL0"
    name: str = "consul-template"
    address: str = Field(default="/dev/log", description="the socket of syslog, or host:port for UDP")


class Config(_Model):
    consul: ConsulConfig = ConsulConfig()
    vault: VaultConfig = VaultConfig()
    zookeeper: ZookeeperConfig = ZookeeperConfig()
    files: FilesConfig = FilesConfig()
    template: list[TemplateConfig] = []
    target: list[TargetConfig] = []
    exec: ExecConfig = ExecConfig()
    deduplicate: DeduplicateConfig = DeduplicateConfig()
    guard: GuardsConfig = GuardsConfig()
    status: StatusConfig = StatusConfig()
    wait: WaitConfig = Wait()
    once: bool = False
    parse_only: bool = False
    syntax: SyntaxName = "none"
    max_stale: Seconds = Field(default=2.0, ge=0)
    block_query_wait: Seconds = Field(default=60.0, gt=0, le=600)
    reload_signal: str = "SIGHUP"
    kill_signal: str = "SIGINT"
    pid_file: Path | None = None
    log_level: str = "info"
    log_file: Path | None = None
    syslog: SyslogConfig = SyslogConfig()
    first_retry: Seconds = Field(default=1.0, gt=0, description="first pause before a failed target is tried again")
    most_retry: Seconds = Field(default=60.0, gt=0)
    state_dir: Path | None = Field(
        None, description="where unfinished reloads are noted, to be finished by the next run"
    )
    template_folders: list[Path] = Field(default=[], description="where {% include %} and {% import %} look too")

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [target.name for target in self.target]
        unknown = {template.target for template in self.template if template.target} - set(names)
        if unknown:
            raise ValueError(f"no [[target]] is named {', '.join(sorted(unknown))}")
        if len(set(names)) != len(names):
            raise ValueError("two targets have the same name")
        return self


def load(paths: Sequence[Path], flags: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Config:
    """Raises ConfigError with one line. `flags` is nested as the files are."""
    merged: dict[str, Any] = _from_environment(os.environ if environment is None else environment)
    for path in _files(paths):
        merged = merge(merged, _read(path))
    merged = merge(merged, flags)
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(f"configuration: {_one_line(error)}") from None


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Key by key; lists are joined, since what is listed are templates and targets."""
    made = dict(base)
    for key, value in over.items():
        before = made.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            made[key] = merge(before, value)
        elif isinstance(before, list) and isinstance(value, list) and key in ("template", "target"):
            made[key] = before + value
        else:
            made[key] = value
    return made


# What Consul's and Vault's own tools, and consul-template, take from the environment: of both tools by the same names, and of one.
_OF_BOTH: dict[str, tuple[str, ...]] = {
    "NAMESPACE": ("namespace",),
    "CACERT": ("ssl", "ca_cert"),
    "CAPATH": ("ssl", "ca_path"),
    "CLIENT_CERT": ("ssl", "cert"),
    "CLIENT_KEY": ("ssl", "key"),
    "TLS_SERVER_NAME": ("ssl", "server_name"),
}
_VARIABLES: dict[str, tuple[str, ...]] = {
    **{f"{tool.upper()}_{name}": (tool, *place) for tool in ("consul", "vault") for name, place in _OF_BOTH.items()},
    "CONSUL_HTTP_ADDR": ("consul", "address"),
    "CONSUL_HTTP_TOKEN": ("consul", "token"),
    "CONSUL_HTTP_TOKEN_FILE": ("consul", "token_file"),
    "CONSUL_HTTP_SSL": ("consul", "ssl", "enabled"),
    "CONSUL_HTTP_SSL_VERIFY": ("consul", "ssl", "verify"),
    "VAULT_ADDR": ("vault", "address"),
    "VAULT_TOKEN": ("vault", "token"),
    "VAULT_UNWRAP_TOKEN": ("vault", "unwrap_token"),
    "VAULT_RENEW_TOKEN": ("vault", "renew_token"),
    "CONSUL_TEMPLATE_LOG": ("log_level",),
}


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, place in _VARIABLES.items():
        if environment.get(name):
            put(found, place, environment[name])
    if pair := environment.get("CONSUL_HTTP_AUTH"):
        put(found, ("consul", "auth"), credentials(pair))
    if (skip := environment.get("VAULT_SKIP_VERIFY", "")) and skip.lower() not in ("0", "f", "false"):
        put(found, ("vault", "ssl", "verify"), False)
    return found


def credentials(pair: str) -> dict[str, str]:
    """`user` or `user:password`, as in `consul.auth`."""
    user, _, password = pair.partition(":")
    return {"username": user, "password": password}


def put(into: dict[str, Any], place: Sequence[str], value: Any) -> None:
    """Sets a key of nested maps."""
    for name in place[:-1]:
        into = into.setdefault(name, {})
    into[place[-1]] = value


def _files(paths: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(
                p for p in path.iterdir() if p.suffix in (".toml", ".yaml", ".yml", ".json") and p.is_file()
            )
        else:
            found.append(path)
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text()
        found = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except (tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: the file is to hold keys such as `template`, not a {type(found).__name__}")
    for name in ("template", "target"):
        if isinstance(found.get(name), dict):
            found[name] = [found[name]]
    return found


def _one_line(error: ValidationError) -> str:
    problems = []
    for item in error.errors(include_url=False, include_context=False):
        where = ".".join(str(part) for part in item["loc"])
        problems.append(f"{where + ': ' if where else ''}{item['msg'].removeprefix('Value error, ')}")
    return "; ".join(problems)
