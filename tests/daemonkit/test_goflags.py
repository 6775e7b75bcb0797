"""Flags in Go's way give what the same flags give in click's."""

from typing import Any

import click
import pytest
from click.testing import CliRunner

from daemonkit.goflags import GoFlagsCommand, GoFlagsGroup


@click.command(cls=GoFlagsCommand)
@click.option("--retry-interval")
@click.option("--tags", multiple=True)
@click.option("--internal/--no-internal", default=None)
@click.option("--once", is_flag=True)
@click.argument("words", nargs=-1)
def command(**given: Any) -> None:
    click.echo(repr({name: value for name, value in given.items() if value not in (None, (), False) or value is False}))


def read(*words: str) -> dict[str, Any]:
    done = CliRunner().invoke(command, words)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = eval(done.output)
    return {name: value for name, value in found.items() if name != "once" or value}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-retry-interval", "5"], {"retry_interval": "5"}),
        (["-retry-interval=5"], {"retry_interval": "5"}),
        (["--retry-interval=a=b"], {"retry_interval": "a=b"}),
        (["-retry-interval="], {"retry_interval": ""}),
        (["-tags", "-internal", "--tags=b"], {"tags": ("-internal", "b")}),  # the word after a flag is its value
        (["-internal"], {"internal": True}),
        (["-internal=true"], {"internal": True}),
        (["-internal=F"], {"internal": False}),
        (["--no-internal"], {"internal": False}),
        (["-no-internal=false"], {"internal": True}),
        (["-once=1"], {"once": True}),
        (["-once=false"], {}),
        (["consul://a", "-once"], {"words": ("consul://a",), "once": True}),
        (["--", "-once"], {"words": ("-once",)}),
    ],
)
def test_a_flag_gives_what_go_reads(words: list[str], expected: dict[str, Any]) -> None:
    assert read(*words) == expected


@pytest.mark.parametrize(
    ("words", "said"),
    [(["-internal=maybe"], "'maybe' is neither true nor false"), (["-nonsense=1"], "No such option")],
)
def test_what_is_wrong_is_said(words: list[str], said: str) -> None:
    done = CliRunner().invoke(command, words)
    assert done.exit_code == 2 and said in done.output


def test_a_subcommand_s_words_are_its_own() -> None:
    @click.group(cls=GoFlagsGroup, invoke_without_command=True)
    @click.option("--once", is_flag=True)
    def group(once: bool) -> None:
        click.echo(f"once {once}")

    @group.command("sub")
    @click.argument("word")
    def sub(word: str) -> None:
        click.echo(f"word {word}")

    assert (
        CliRunner().invoke(group, ["-once=true", "sub", "--", "-once=false"]).output == "once True\nword -once=false\n"
    )
