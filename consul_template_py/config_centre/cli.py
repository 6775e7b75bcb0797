"""`dromos config`: reads and changes the configuration centre, and delivers it."""

import getpass
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import click
import orjson
from pydantic import Field, SecretStr

from consul_template_py.commands import Command
from consul_template_py.config_centre import formats, model
from consul_template_py.config_centre.cache import Cache
from consul_template_py.config_centre.deliver import Deliverer, Delivery
from consul_template_py.config_centre.model import Change, Effective, Version
from consul_template_py.config_centre.store import CentreUnavailableError, Store
from consul_template_py.errors import ConfigError
from consul_template_py.sources.consul import ConsulSettings
from daemonkit import lifecycle, logs
from daemonkit.errors import OperatorError
from daemonkit.logs import MASK
from daemonkit.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


class ConfigCentreSettings(Settings):
    section: ClassVar[str] = "config"

    consul_addr: str = Field(default="", description="address of Consul; else CONSUL_HTTP_ADDR, else 127.0.0.1:8500")
    consul_token: SecretStr = Field(default=SecretStr(""), description="ACL token; else CONSUL_HTTP_TOKEN")
    consul_token_file: Path | None = Field(default=None, description="file that holds the ACL token")
    consul_ca_file: Path | None = Field(default=None, description="certificates to check Consul's against")
    prefix: str = Field(default="dromos/config/", description="where the centre is in Consul's KV")
    cache_dir: Path = Field(
        default=Path("~/.dromos/config"), description="where the copy is that serves when Consul is away"
    )

    def consul(self) -> ConsulSettings:
        address = self.consul_addr or os.environ.get("CONSUL_HTTP_ADDR") or "127.0.0.1:8500"
        token = self.consul_token.get_secret_value() or os.environ.get("CONSUL_HTTP_TOKEN", "")
        return ConsulSettings(
            address=address if "://" in address else f"http://{address}",
            token=SecretStr(token),
            token_file=self.consul_token_file,
            ca_file=self.consul_ca_file,
        )

    def store(self) -> Store:
        return Store(self.consul(), prefix=self.prefix)

    def cache(self) -> Cache:
        return Cache(self.cache_dir.expanduser(), self.consul().address, self.prefix)


class _Group(click.Group):
    """Turns an operator's mistake into one line and its exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OperatorError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(error.exit_code)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@ConfigCentreSettings.options()
@click.pass_context
def command(context: click.Context, /, **flags: Any) -> None:
    """Settings of applications by environment, with a history, in Consul's KV."""
    context.obj = ConfigCentreSettings.load(flags)


def _author(command: F) -> F:
    default = f"{getpass.getuser()}@{socket.gethostname()}"
    command = click.option("--author", default=default, show_default=True, help="who makes the change")(command)
    return click.option("-m", "--reason", required=True, help="why the change is made")(command)


_json = click.option("--json", "as_json", is_flag=True, help="print JSON")
_format = click.option("--format", type=click.Choice(formats.FORMATS), help="else by the file's suffix, else env")
_secrets = click.option("--show-secrets", is_flag=True, help="show values whose path sounds like a secret")
_here = click.pass_obj


@command.command("environments")
@_json
@_here
def environments(settings: ConfigCentreSettings, as_json: bool) -> None:
    """Lists environments, what they inherit from, and their last version."""
    store = settings.store()
    parents = store.parents()
    rows: list[dict[str, Any]] = [
        {"environment": name, "inherits": list(model.chain(name, parents))[1:], "version": store.head(name)}
        for name in store.environments()
    ]
    if as_json:
        _print_json(rows)
        return
    for row in rows:
        inherits = f"  <- {' <- '.join(row['inherits'])}" if row["inherits"] else ""
        click.echo(f"{row['environment']}  version {row['version']}{inherits}")


@command.command("inherit")
@click.argument("environment")
@click.argument("parent", required=False)
@_here
def inherit(settings: ConfigCentreSettings, environment: str, parent: str | None) -> None:
    """Says which environment's values hold where ENVIRONMENT has none; without PARENT: nobody's."""
    settings.store().inherit(environment, parent)


@command.command("get")
@click.argument("environment")
@click.argument("path", required=False)
@click.option("--origin", is_flag=True, help="say which environment each value comes from")
@_json
@_here
def get(settings: ConfigCentreSettings, environment: str, path: str | None, origin: bool, as_json: bool) -> None:
    """Prints one value, or all below PATH, inherited ones included."""
    values = _effective(settings, environment)
    if path is not None and path.strip("/") in values:
        value = values[path.strip("/")]
        if as_json:
            _print_json({"path": path.strip("/"), "value": value.value, "origin": value.origin})
        else:
            click.echo(f"{value.value}{f'  ({value.origin})' if origin else ''}")
        return
    start = f"{path.strip('/')}/" if path else ""
    found = {name: value for name, value in values.items() if name.startswith(start)}
    if path is not None and not found:
        raise OperatorError(f"{environment} has no value at {path}")
    if as_json:
        _print_json({name: {"value": value.value, "origin": value.origin} for name, value in found.items()})
        return
    for name, value in found.items():
        click.echo(f"{name}={value.value}{f'  ({value.origin})' if origin else ''}")


@command.command("set")
@click.argument("environment")
@click.argument("assignments", nargs=-1, required=True, metavar="PATH=VALUE…")
@_author
@_here
def set_(
    settings: ConfigCentreSettings, environment: str, assignments: Sequence[str], author: str, reason: str
) -> None:
    """Sets values, all in one version. A VALUE of @FILE is read from the file, @- from stdin."""
    wanted: dict[str, str | None] = {}
    for assignment in assignments:
        path, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"{assignment!r} is not PATH=VALUE")
        wanted[path] = _value(value)
    _say_committed(settings.store().commit(environment, wanted, author=author, reason=reason))


@command.command("unset")
@click.argument("environment")
@click.argument("paths", nargs=-1, required=True)
@_author
@_here
def unset(settings: ConfigCentreSettings, environment: str, paths: Sequence[str], author: str, reason: str) -> None:
    """Removes the environment's own values; inherited ones show again."""
    wanted: dict[str, str | None] = dict.fromkeys(paths)
    _say_committed(settings.store().commit(environment, wanted, author=author, reason=reason))


@command.command("diff")
@click.argument("environment")
@click.argument("other", required=False)
@click.option("--since", type=int, metavar="VERSION", help="the same environment's own values at that version")
@_secrets
@_json
@_here
def diff(
    settings: ConfigCentreSettings,
    environment: str,
    other: str | None,
    since: int | None,
    show_secrets: bool,
    as_json: bool,
) -> None:
    """Shows how OTHER differs from ENVIRONMENT, inherited values included; or what has changed since a version."""
    if (other is None) == (since is None):
        raise ConfigError("diff needs another environment, or --since VERSION")
    store = settings.store()
    if since is not None:
        current = store.values(environment)
        changes = model.differences(model.values_at(current, store.history(environment, since=since)), current)
    else:
        assert other is not None
        one, two = (
            {path: value.value for path, value in model.resolve(store.layers(name)).items()}
            for name in (environment, other)
        )
        changes = model.differences(one, two)
    if as_json:
        _print_json([_change(change, show_secrets) for change in changes])
        return
    _show_changes(changes, show_secrets)


@command.command("history")
@click.argument("environment")
@click.argument("path", required=False)
@click.option("--limit", default=20, show_default=True, help="the last so many versions")
@_secrets
@_json
@_here
def history(
    settings: ConfigCentreSettings, environment: str, path: str | None, limit: int, show_secrets: bool, as_json: bool
) -> None:
    """Shows who changed what, when and why, the newest first."""
    versions = settings.store().history(environment, limit=limit)
    if path is not None:
        path = path.strip("/")
        versions = [v for v in versions if any(f"{c.path}/".startswith(f"{path}/") for c in v.changes)]
    if as_json:
        _print_json([_version(version, show_secrets) for version in versions])
        return
    for version in versions:
        when = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(version.at))
        click.echo(click.style(f"version {version.number}  {when}  {version.author}: {version.reason}", bold=True))
        _show_changes(version.changes, show_secrets)


@command.command("rollback")
@click.argument("environment")
@click.argument("version", type=int)
@_author
@_here
def rollback(settings: ConfigCentreSettings, environment: str, version: int, author: str, reason: str) -> None:
    """Makes a new version in which the environment's own values are those of VERSION."""
    why = f"roll back to version {version}: {reason}"
    _say_committed(settings.store().roll_back(environment, version, author=author, reason=why))


@command.command("export")
@click.argument("environment")
@_format
@click.option("-o", "--output", type=click.Path(path_type=Path), help="the file, instead of stdout")
@click.option("--own", is_flag=True, help="without inherited values")
@_here
def export(
    settings: ConfigCentreSettings, environment: str, format: str | None, output: Path | None, own: bool
) -> None:
    """Writes an environment's values as a file."""
    if own:
        values = settings.store().values(environment)
    else:
        values = {path: value.value for path, value in _effective(settings, environment).items()}
    text = formats.write(values, format or _by_suffix(output) or "env")
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        with open(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123
            file.write(text)
    except OSError as error:
        raise OperatorError(f"{output} cannot be written: {error.strerror}") from None


@command.command("import")
@click.argument("environment")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_format
@click.option("--replace", is_flag=True, help="also remove values that the file does not have")
@_author
@_here
def import_(
    settings: ConfigCentreSettings,
    environment: str,
    file: Path,
    format: str | None,
    replace: bool,
    author: str,
    reason: str,
) -> None:
    """Sets the values of a file, all in one version."""
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    wanted: dict[str, str | None] = dict(formats.read(text, format or _by_suffix(file) or "env"))
    store = settings.store()
    if replace:
        wanted |= dict.fromkeys(set(store.values(environment)) - set(wanted))
    _say_committed(store.commit(environment, wanted, author=author, reason=reason))


@command.command("deliver", context_settings={"ignore_unknown_options": True})
@click.argument("environment")
@click.option("--file", "files", multiple=True, metavar="PATH[:FORMAT]", help="keep this file up to date; repeatable")
@click.option("--command", "reload", help="run this after files have changed")
@click.option("--reload-signal", default="", help="tell the program by this signal; without one it is started again")
@click.option("--kill-timeout", default=30.0, show_default=True, help="seconds that the program may take to end")
@click.option(
    "--patience",
    default=3.0,
    show_default=True,
    help="seconds that Consul may be away at the start until the copy serves",
)
@click.argument("program", nargs=-1, type=click.UNPROCESSED)
@_here
def deliver(
    settings: ConfigCentreSettings,
    environment: str,
    files: Sequence[str],
    reload: str | None,
    reload_signal: str,
    kill_timeout: float,
    patience: float,
    program: Sequence[str],
) -> None:
    """Keeps files up to date, and runs PROGRAM with the values as environment variables, for as long as it is needed."""
    if not files and not program:
        raise ConfigError("deliver needs --file PATH, or a program to run after --")
    delivery = Delivery(
        files=tuple(map(_file_and_format, files)),
        command=Command.parse(reload) if reload else None,
        program=Command(tuple(program)) if program else None,
        reload_signal=reload_signal,
        kill_timeout=kill_timeout,
        patience=patience,
    )
    model.check_environment(environment)
    logs.configure(daemon="config")
    deliverer = Deliverer(settings.consul(), environment, delivery, prefix=settings.prefix, cache=settings.cache())
    lifecycle.run(deliverer.run)


def _effective(settings: ConfigCentreSettings, environment: str) -> dict[str, Effective]:
    """From Consul, or, when it is away, from the copy on this machine, which is said on stderr."""
    model.check_environment(environment)
    cache = settings.cache()
    try:
        values = model.resolve(settings.store().layers(environment))
    except CentreUnavailableError as error:
        copy = cache.load(environment)
        if copy is None:
            raise
        click.echo(f"warning: {error}; this is the copy of {copy.age:.0f} s ago", err=True)
        return copy.values
    try:
        cache.save(environment, values)
    except OSError as error:
        click.echo(f"warning: the copy on this machine could not be written: {error.strerror}", err=True)
    return values


def _value(text: str) -> str:
    if not text.startswith("@"):
        return text
    try:
        return sys.stdin.read() if text == "@-" else Path(text[1:]).read_text("utf-8", "surrogateescape")
    except OSError as error:
        raise OperatorError(f"{text[1:]} cannot be read: {error.strerror}") from None


def _by_suffix(path: Path | None) -> str | None:
    return None if path is None else formats.BY_SUFFIX.get(path.suffix)


def _file_and_format(text: str) -> tuple[Path, str]:
    path, colon, format = text.rpartition(":")
    if not colon:
        return Path(text), _by_suffix(Path(text)) or "env"
    if format not in formats.FORMATS:
        raise ConfigError(f"--file {text!r}: format {format!r} is none of {', '.join(formats.FORMATS)}")
    return Path(path), format


def _say_committed(version: Version | None) -> None:
    click.echo("nothing to change" if version is None else f"version {version.number}: {len(version.changes)} changed")


def _show_changes(changes: Sequence[Change], show_secrets: bool) -> None:
    for change in changes:
        shown = _change(change, show_secrets)
        if change.before is not None:
            click.echo(click.style(f"  - {change.path}={shown['before']}", fg="red"))
        if change.after is not None:
            click.echo(click.style(f"  + {change.path}={shown['after']}", fg="green"))


def _change(change: Change, show_secrets: bool) -> dict[str, str | None]:
    hide = not show_secrets and model.is_secret(change.path)
    before, after = (MASK if hide and value is not None else value for value in (change.before, change.after))
    return {"path": change.path, "before": before, "after": after}


def _version(version: Version, show_secrets: bool) -> dict[str, Any]:
    return {
        "number": version.number,
        "at": version.at,
        "author": version.author,
        "reason": version.reason,
        "changes": [_change(change, show_secrets) for change in version.changes],
    }


def _print_json(value: object) -> None:
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


if __name__ == "__main__":
    command()
