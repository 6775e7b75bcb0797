"""The documentation names commands, flags and variables that there are."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from dromos.cli import COMMANDS, cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# Flags of other programs that stand alone; lines that name the program are left out.
FOREIGN = {
    "CONTRIBUTING.md": {"--strict"},
    "api.md": {"--isolation"},  # of the agents
    "architecture.md": {"--strict"},
    "ui.md": {"--docs"},
    "autoscaling.md": {
        *("--apps", "--cooldown", "--intervals-past-threshold", "--min-instances", "--samples", "--target-rps"),
        *("--threshold-instances", "--threshold-percent"),
    },
}


@pytest.fixture(scope="module")
def flags() -> set[str]:
    commands = [command for name in COMMANDS for command in _all(_command(name))]
    options = [one for command in (cli, *commands) for one in command.params if isinstance(one, click.Option)]
    return {name for one in options for name in (*one.opts, *one.secondary_opts)} | {"--help"}


def _command(name: str) -> click.Command:
    module, attribute = COMMANDS[name]
    found: click.Command = getattr(importlib.import_module(module), attribute)
    return found


def _all(command: click.Command) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        for below in command.commands.values():
            yield from _all(below)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_flags_and_commands_that_a_page_names_are_there(page: Path, flags: set[str]) -> None:
    text = page.read_text()
    code = "\n".join(re.findall(r"`[^`\n]+`|^(?:    |\$ ).+$", text, re.MULTILINE))
    ours = "\n".join(
        line
        for line in code.splitlines()
        if not re.search(r"\b(iptables|ip6tables|nft|docker|marathon-lb|ARGS=)\b", line)
    )
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", ours)) - FOREIGN.get(page.name, set())
    assert sorted(named - flags) == []
    called = set(re.findall(r"(?:^|[`/ ])dromos ([a-z][a-z-]+)", code))
    assert sorted(called - set(COMMANDS)) == []
