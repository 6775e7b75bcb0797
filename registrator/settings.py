"""The settings of the registrator: section `registrator`, variables DROMOS_REGISTRATOR_…."""

import ipaddress
import math
import re
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator

from daemonkit.errors import SettingsError
from daemonkit.settings import Seconds, Settings
from registrator.conventions import split_tags
from registrator.sources.mesos_masters import is_zk

Source = Literal["mesos", "framework", "docker"]


def _milliseconds(value: object) -> object:
    """registrator's unit: a bare number is milliseconds."""
    return f"{value}ms" if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()) else value


Milliseconds = Annotated[Seconds, BeforeValidator(_milliseconds)]


def consul_of_registry(uri: str) -> str:
    """registrator's argument, `consul://host:port` or `consul-tls://host:port`, as an address of Consul. Raises SettingsError."""
    scheme, separator, address = uri.partition("://")
    kinds = {"consul": "http", "consul-tls": "https"}
    if not separator or scheme not in kinds or not address.strip("/"):
        raise SettingsError(f"registry {uri}: this registrator writes to Consul alone: consul://HOST:PORT")
    return f"{kinds[scheme]}://{address.strip('/')}"


class RegistratorSettings(Settings):
    section: ClassVar[str] = "registrator"

    host: str = Field("127.0.0.1", description="the address that the daemon listens on")
    port: int = Field(8083, ge=0, le=65535, description="its port, for /health, /metrics and /status")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="debug, info, warning or error")
    log_format: Literal["auto", "json", "text"] = Field("auto", description="json, text, or auto: text on a terminal")

    sources: tuple[Source, ...] = Field(
        (),
        description="where it learns what runs; repeatable; default: mesos and framework, and docker with --docker",
    )
    mesos: tuple[str, ...] = Field(
        ("http://127.0.0.1:5050",), description="URLs of the Mesos masters, or zk://HOSTS/PATH; repeatable"
    )
    mesos_agent: str = Field(
        "", description="URL of this host's Mesos agent: its tasks alone, asked of it in place of the masters"
    )
    mesos_credentials: SecretStr | None = Field(None, description="principal:secret for the masters, or the agent")
    marathon: tuple[str, ...] = Field(
        ("http://127.0.0.1:8080",), description="URLs of the framework's Marathon API; repeatable"
    )
    marathon_credentials: SecretStr | None = Field(None, description="user:password for the Marathon API")
    docker: bool = Field(False, description="also look at the Docker daemon")
    docker_host: str = Field(
        "", description="its address, as unix:///var/run/docker.sock; default: what DOCKER_HOST and its like say"
    )
    docker_all: bool | None = Field(
        None,
        description="also containers that neither are Mesos tasks nor ask by SERVICE_NAME; default: only where docker is the one source",
    )

    consul: str = Field("http://127.0.0.1:8500", description="the Consul agent that gets the services")
    consul_token: SecretStr | None = Field(None, description="its ACL token")
    owner: str = Field(
        "dromos", description="the name that marks this registrator's services; one per registrator and agent"
    )

    separator: str = Field(".", description="what stands for the / of an app id in a service name")
    explicit: bool = Field(False, description="register only what asks for it by SERVICE_NAME or the label consul")
    internal: bool = Field(False, description="prefer the container's own address and port to the published ones")
    ip: str = Field("", description="the address of published ports, in place of the host's own")
    network: tuple[str, ...] = Field(
        (), description="Docker networks whose address is preferred, the best first; repeatable"
    )
    ip_version: Literal["4", "6"] = Field("4", description="which of a container's addresses is preferred: 4 or 6")
    tags: tuple[str, ...] = Field((), description="tags that every service gets, separated by commas; repeatable")
    deregister: Literal["always", "on-success"] = Field(
        "always", description="on-success leaves a container registered that ended with an error, until it is removed"
    )
    cleanup: bool = Field(
        True, description="remove services of its own that no source knows any more, as after a crash"
    )

    resync: Seconds = Field(60.0, gt=0, description="how often everything is looked at without any hint")
    verify: Seconds = Field(10.0, gt=0, description="how often Consul's own list is read again")
    debounce: Seconds = Field(0.05, ge=0, description="the least time between two looks that hints cause")
    poll: Seconds = Field(
        1.0, gt=0, description="how often a Mesos agent, or a master without an event stream, is asked"
    )
    timeout: Seconds = Field(10.0, gt=0, description="how long one request may take")

    confirm_after: Seconds = Field(
        1.0, ge=0, description="how long an instance must be absent, in two answers, to be removed"
    )
    empty_hold: Seconds = Field(5.0, ge=0, description="the same where a source shows no instance at all any more")
    stopping_hold: Seconds = Field(
        60.0, ge=0, description="how long a container that was sent a stop signal drains, if it then does not end"
    )
    removal_burst: int = Field(50, ge=1, description="how many services may be removed at once without having ended")
    removal_rate: float = Field(10.0, gt=0, description="how many of those a second after that")
    framework_grace: Seconds = Field(30.0, ge=0, description="how long the framework may take to speak of a new task")
    unreachable_hold: Seconds = Field(300.0, ge=0, description="how long tasks of an unreachable agent stay registered")
    cleanup_after: Seconds = Field(
        300.0, ge=0, description="how long an agent is dead until what it left is removed from the catalog; 0: never"
    )

    tcp_check_interval: Seconds = Field(1.0, ge=0, description="how often Consul connects to each TCP port; 0: never")
    tcp_check_timeout: Seconds = Field(5.0, gt=0, description="how long such a connect may take")
    ttl: Seconds = Field(
        3600.0,
        ge=10,
        description="the TTL of checks that carry Docker's HEALTHCHECK, or a task's command; refreshed thrice in it",
    )

    ttl_refresh: Seconds = Field(
        0.0, ge=0, description="how often TTL checks get their heartbeat; 0: thrice in their TTL"
    )

    retry_attempts: int = Field(
        -1, ge=-1, description="how often to try again at the start when Consul does not answer; -1: for ever"
    )
    retry_interval: Milliseconds = Field(
        2.0, ge=0, description="the pause between those; as in registrator, a bare number is milliseconds"
    )
    write_concurrency: int = Field(8, ge=1, le=100, description="how many requests to Consul may be under way")
    remembered: int = Field(10_000, ge=100, description="how many ended tasks and app versions are remembered")
    max_answer_bytes: int = Field(256 * 1024 * 1024, ge=1024, description="the longest answer of a source that is read")

    @field_validator("tags")
    @classmethod
    def _tags_are_apart(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(tag for item in value for tag in split_tags(item))

    @field_validator("ttl_refresh")
    @classmethod
    def _beats_within_the_ttl(cls, value: float, info: ValidationInfo) -> float:
        if value and value >= info.data.get("ttl", math.inf):
            raise ValueError("must be less than --ttl")
        return value

    @field_validator("owner")
    @classmethod
    def _owner_is_a_word(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", value):
            raise ValueError("must be 1 to 64 letters, digits, `.`, `_` or `-`")
        return value

    @field_validator("separator")
    @classmethod
    def _separator_fits_names(cls, value: str) -> str:
        if not re.fullmatch(r"[._-]{1,4}", value):
            raise ValueError("must be made of `.`, `_` and `-`")
        return value

    @field_validator("ip")
    @classmethod
    def _ip_is_one(cls, value: str) -> str:
        if value:
            ipaddress.ip_address(value)
        return value

    @field_validator("consul", "mesos_agent")
    @classmethod
    def _is_a_url(cls, value: str, info: ValidationInfo) -> str:
        return _url(value) if value or info.field_name == "consul" else ""

    @field_validator("mesos", "marathon")
    @classmethod
    def _urls(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        # The hosts of a zk:// address are separated by commas too.
        found = [item.strip() for item in re.findall(r"zk://[^/]*/[^,]*|[^,]+", ",".join(value)) if item.strip()]
        if not found:
            raise ValueError("must have at least one address")
        return tuple(item if info.field_name == "mesos" and is_zk(item) else _url(item) for item in found)

    @field_validator("mesos_credentials", "marathon_credentials")
    @classmethod
    def _two_parts(cls, value: SecretStr | None) -> SecretStr | None:
        if value and ":" not in value.get_secret_value():
            raise ValueError("must be NAME:SECRET")
        return value

    @property
    def used_sources(self) -> tuple[Source, ...]:
        named: tuple[Source, ...] = self.sources or ("mesos", "framework")
        return tuple(dict.fromkeys((*named, "docker") if self.docker else named))

    @property
    def all_containers(self) -> bool:
        """Whether containers are registered that neither are Mesos tasks nor ask for it."""
        return self.used_sources == ("docker",) if self.docker_all is None else self.docker_all


def _url(text: str) -> str:
    """`host:port` is http."""
    text = text.strip().rstrip("/")
    if "://" not in text:
        text = f"http://{text}"
    if not re.fullmatch(r"https?://[^/\s@]+(/[^\s]*)?", text):
        raise ValueError("must be HOST:PORT or an http or https URL without a password")
    return text
