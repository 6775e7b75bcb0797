"""`dromos consul-template`: flags and files in, rendered and applied configurations out. Wires the rooms together."""

import asyncio
import difflib
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import click
from pydantic import Field

from consul_template_py import flags, log_outputs
from consul_template_py.child import Child, parse_signal
from consul_template_py.commands import Command
from consul_template_py.config import Config, load, merge
from consul_template_py.errors import ConfigError, TemplateError
from consul_template_py.files import read_if_there
from consul_template_py.runner import Runner, child_environment
from consul_template_py.status import RunnerHealth, status_route
from consul_template_py.unit import Engines, Unit, make_units
from daemonkit import lifecycle, logs
from daemonkit.errors import OperatorError
from daemonkit.goflags import GoFlagsGroup
from daemonkit.http import bind, serving, status_app
from daemonkit.settings import Settings

log = logs.get_logger(__name__)


class ConsulTemplateSettings(Settings):
    """What `DROMOS_CONSUL_TEMPLATE_…` and the section of dromos.toml may say; the rest is in the files that `config` names."""

    section: ClassVar[str] = "consul_template"

    config: list[Path] = Field(default=[], description="configuration files, TOML or YAML, or folders of them")
    consul_addr: str | None = Field(default=None, description="address of Consul")
    consul_token_file: Path | None = Field(default=None, description="file that holds the ACL token")
    status: str | None = Field(default=None, description="host:port of /status, /health and /metrics")
    state_dir: Path | None = Field(default=None, description="where unfinished reloads are noted")
    log_level: str | None = Field(default=None, description="debug, info, warning or error")


@click.group(
    cls=GoFlagsGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "-help", "--help"]},
)
@flags.options
@click.version_option(
    None, "-v", "-version", "--version", package_name="dromos", message="consul-template of %(package)s %(version)s"
)
@click.option("-config", "--config", "config", multiple=True, metavar="PATH", help="configuration file or folder")
@click.option("-once", "--once", is_flag=True, help="render everything once, then end")
@click.option("-dry", "--dry", is_flag=True, help="write nothing and run nothing: show what would change")
@click.option("-parse-only", "--parse-only", is_flag=True, help="read configuration and templates, then end")
@click.pass_context
def command(
    context: click.Context, /, *, config: tuple[str, ...], once: bool, dry: bool, parse_only: bool, **given: Any
) -> None:
    """Renders templates from Consul, Vault, ZooKeeper and files, and keeps the results up to date."""
    if context.invoked_subcommand is not None:
        return

    def read() -> Config:
        own = ConsulTemplateSettings.load({"config": config})
        named = {name: getattr(own, name) for name in ConsulTemplateSettings.model_fields if name != "config"}
        return load(own.config, merge(flags.as_config(named), flags.as_config(given)))

    try:
        settings = read()
        log_outputs.configure(settings)
        if parse_only or settings.parse_only:
            _parse_only(settings)
            return
    except OperatorError as error:
        click.echo(f"error: {error}", err=True)
        context.exit(error.exit_code)
    lifecycle.run(_Daemon(settings, read, once=once or settings.once, dry=dry).run)


@command.command()
@click.argument("source", type=click.Path(path_type=Path, dir_okay=False))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="where the result goes, instead of stdout")
@click.option("--left-delimiter", default="{{", show_default=True)
@click.option("--right-delimiter", default="}}", show_default=True)
def convert(source: Path, output: Path | None, left_delimiter: str, right_delimiter: str) -> None:
    """Writes the Jinja2 equivalent of a Go template (.ctmpl)."""
    from consul_template_py.gotemplate.convert import convert as go_convert  # which no daemon needs

    try:
        text = source.read_text("utf-8", "surrogateescape")
        made = go_convert(text, str(source), left=left_delimiter, right=right_delimiter)
        if output is not None:
            output.write_text(made, "utf-8", "surrogateescape")
        else:
            sys.stdout.buffer.write(made.encode("utf-8", "surrogateescape"))
    except (OperatorError, OSError) as error:
        said = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
        click.echo(f"error: {said}", err=True)
        sys.exit(1)


class _Daemon:
    def __init__(self, settings: Config, read: Callable[[], Config], *, once: bool, dry: bool) -> None:
        self._settings, self._read = settings, read
        self._once, self._dry = once, dry
        self._health = RunnerHealth()
        self._child: Child | None = None
        self._settled = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        if not self._settings.template:
            raise ConfigError("there is no template: give -template in:out or a configuration file with [[template]]")
        async with AsyncExitStack() as stack:
            stack.enter_context(_pid_file(self._settings.pid_file))
            if self._settings.status.listen:
                sock = bind(*_host_and_port(self._settings.status.listen), what="status", mend="give another -status")
                app = status_app(self._health, status_route(self._health))
                await stack.enter_async_context(serving(app, sock))
            reload = asyncio.Event()
            self._listen_to_signals(stop, reload)
            child = asyncio.create_task(self._run_child(stop)) if self._settings.exec.wanted else None
            try:
                await self._run_runners(stop, reload, child)
            finally:
                if child is not None:
                    child.cancel()
                    await asyncio.gather(child, return_exceptions=True)
            if child is not None and child.done() and not child.cancelled() and child.exception():
                raise child.exception()  # type: ignore[misc]

    async def _run_runners(
        self, stop: asyncio.Event, reload: asyncio.Event, child: "asyncio.Task[None] | None"
    ) -> None:
        """One runner after the other: a new one each time that the configuration has been read again."""
        while not stop.is_set():
            runner = self._make_runner()
            self._health.runner = runner
            ending = asyncio.Event()
            running = asyncio.create_task(runner.run(ending))
            stopping, reloading = asyncio.create_task(stop.wait()), asyncio.create_task(self._reloaded(reload))
            settling = asyncio.create_task(self._note_settled(runner))
            waited = {running, stopping, reloading, *([child] if child else [])}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if child is not None and child.done():
                stop.set()
            ended = running.done()
            ending.set()
            for task in (stopping, reloading, settling):
                task.cancel()
            await running
            if ended:
                return

    async def _note_settled(self, runner: Runner) -> None:
        await runner.settled()
        self._settled.set()
        # What is there now stays: a collector that looks at all of it again and again would cost more than all changes.
        gc.collect()
        gc.freeze()

    async def _reloaded(self, reload: asyncio.Event) -> None:
        """Waits until there is another configuration that can be read; one that cannot is logged, and the old one stays."""
        while True:
            await reload.wait()
            reload.clear()
            try:
                self._settings = self._read()
            except OperatorError as error:
                log.error("the configuration cannot be read, the old one stays", error=str(error))
                continue
            log.info("configuration read again")
            return

    def _make_runner(self) -> Runner:
        return Runner(
            self._settings,
            once=self._once,
            dry=self._dry,
            on_text=_show_difference if self._dry else lambda unit: None,
            on_applied=lambda: self._child.changed() if self._child else None,
        )

    async def _run_child(self, stop: asyncio.Event) -> None:
        """Starts the child when everything has been rendered and applied for the first time."""
        settings = self._settings.exec
        program = Command.parse(
            settings.command, splay=settings.splay, environment=child_environment(settings.env, where="exec")
        )
        reload = parse_signal(settings.reload_signal, where="exec.reload_signal") if settings.reload_signal else None
        kill = parse_signal(settings.kill_signal, where="exec.kill_signal")
        await self._settled.wait()
        child = Child(program, reload_signal=reload, kill_signal=kill, kill_timeout=settings.kill_timeout)

        def started() -> None:
            self._child = child

        await child.run(started)

    def _listen_to_signals(self, stop: asyncio.Event, reload: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        own = {
            parse_signal(self._settings.kill_signal, where="kill_signal"): stop.set,
            parse_signal(self._settings.reload_signal, where="reload_signal"): reload.set,
        }
        for number, action in own.items():
            loop.add_signal_handler(number, action)
        if self._settings.exec.wanted:
            for number in {signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGQUIT} - set(own):
                loop.add_signal_handler(number, lambda n: self._child.pass_on(n) if self._child else None, number)


def _show_difference(unit: Unit) -> None:
    """What would change in the file, as a unified diff, coloured on a terminal."""
    before = _lines(read_if_there(unit.destination))
    after = _lines(unit.wanted.content)
    shown = False
    for line in difflib.unified_diff(before, after, str(unit.destination), f"{unit.destination} (new)", lineterm=""):
        shown = True
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
        click.echo(click.style(line, fg=colour, bold=line.startswith(("+++", "---"))))
    if not shown:
        click.echo(f"{unit.destination}: no change")


def _lines(content: bytes | None) -> list[str]:
    return (content or b"").decode("utf-8", "backslashreplace").splitlines()


def _parse_only(settings: Config) -> None:
    """Raises TemplateError if a template does not compile."""

    class Nothing:
        def get(self, query: object) -> tuple[bool, None]:
            return False, None

    units = make_units(settings, Engines(os.environ, folders=settings.template_folders), Nothing())
    errors = [unit.state.error for unit in units if unit.state.error]
    if errors:
        raise TemplateError("; ".join(errors))
    click.echo(f"{len(units)} templates can be used")


def _host_and_port(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"status address {text!r} is not host:port")
    return host.strip("[]") or "127.0.0.1", int(port)


@contextmanager
def _pid_file(path: Path | None) -> Iterator[None]:
    if path is None:
        yield
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{os.getpid()}\n")
    except OSError as error:
        raise ConfigError(f"pid_file {path} cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    command()
