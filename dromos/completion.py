"""`dromos completion`: what a shell reads to complete the names of commands, options, apps and pods."""

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print completion for SHELL: `source <(dromos completion bash)`, `dromos completion fish | source`."""
    found = get_completion_class(shell)
    assert found is not None
    root = click.get_current_context().find_root()
    click.echo(found(root.command, {}, "dromos", "_DROMOS_COMPLETE").source())
