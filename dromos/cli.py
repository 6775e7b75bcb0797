"""The `dromos` command: the daemons, the platform on one machine, and a client of the API."""

import importlib
import sys

import click
from click.shell_completion import CompletionItem

from daemonkit.errors import OperatorError
from dromos.api import DEFAULT_URL, VARIABLE
from dromos.context import Context

# Imported when they are called: `dromos apps` is not to wait for what only a daemon needs.
COMMANDS = {
    "up": ("dromos.up.command", "up"),
    "down": ("dromos.up.command", "down"),
    "status": ("dromos.up.status", "status"),
    "deploy": ("dromos.commands", "deploy"),
    "diff": ("dromos.diff", "diff"),
    "apps": ("dromos.queries", "apps"),
    "scale": ("dromos.commands", "scale"),
    "restart": ("dromos.commands", "restart"),
    "destroy": ("dromos.commands", "destroy"),
    "go": ("dromos.commands", "go"),
    "rollback": ("dromos.commands", "rollback"),
    "versions": ("dromos.queries", "versions"),
    "tasks": ("dromos.queries", "tasks"),
    "logs": ("dromos.logs", "logs"),
    "exec": ("dromos.exec", "execute"),
    "events": ("dromos.queries", "events"),
    "queue": ("dromos.queries", "queue"),
    "deployments": ("dromos.queries", "deployments"),
    "completion": ("dromos.completion", "completion"),
    "config": ("consul_template_py.config_centre.cli", "command"),
    "backup": ("dromos.backup", "backup"),
    "restore": ("dromos.backup", "restore"),
    "import": ("dromos.import_", "import_marathon"),
    "framework": ("framework.daemon", "command"),
    "registrator": ("registrator.daemon", "command"),
    "consul-template": ("consul_template_py.daemon", "command"),
    "edge": ("nginx.daemon", "command"),
    "autoscale": ("autoscale.daemon", "command"),
    "mesos": ("embedded.mesos.daemon", "command"),
    "consul": ("embedded.consul.daemon", "command"),
}
# Of those whose modules take long to load: help and completion are not to wait for them.
SUMMARIES = {
    "up": "Run the whole platform on this machine.",
    "down": "Stop the platform, and every task that it runs.",
    "diff": "Show what `deploy FILE…` would create, change and destroy; changes nothing.",
    "config": "The configuration centre in Consul: get, set, diff, history, rollback.",
    "backup": "Write the framework's whole state to a file.",
    "restore": "Make the framework's state what it was when a file was written.",
    "import": "Take groups, apps and pods of a live Marathon over.",
    "framework": "Daemon: Marathon's REST API; keeps apps running on Mesos.",
    "registrator": "Daemon: tells Consul where the containers are.",
    "consul-template": "Daemon: renders templates from Consul and applies them.",
    "edge": "Daemon: keeps Nginx or HAProxy pointed at the containers.",
    "autoscale": "Daemon: instance counts that follow the traffic.",
    "mesos": "Daemon: a Mesos master and agents in one process.",
    "consul": "Daemon: a Consul server for one machine.",
}


class LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        if incomplete and not incomplete[0].isalnum():
            return super(click.Group, self).shell_complete(ctx, incomplete)
        return [CompletionItem(name, help=SUMMARIES.get(name)) for name in COMMANDS if name.startswith(incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, SUMMARIES.get(name) or self._summary(ctx, name)) for name in COMMANDS])

    def _summary(self, ctx: click.Context, name: str) -> str:
        command = self.get_command(ctx, name)
        return command.get_short_help_str(80) if command else ""


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option(
    "--api-url", envvar=VARIABLE, default=DEFAULT_URL, show_default=True, help="the API to talk to, Marathon's included"
)
@click.option("--json", "as_json", is_flag=True, help="print JSON instead of tables")
@click.version_option(package_name="dromos")
@click.pass_context
def cli(context: click.Context, api_url: str, as_json: bool) -> None:
    """Runs long-lived containers on Apache Mesos, tells Consul where they are, keeps Nginx pointed at them, scales them."""
    context.obj = Context(api_url, as_json)


def main() -> None:
    try:
        code = cli(prog_name="dromos", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except OperatorError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)


if __name__ == "__main__":
    main()
