"""What the commands print: a table for people, JSON for programs."""

import sys
from collections.abc import Sequence

import click
import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def show(rows: Sequence[Sequence[object]], columns: Sequence[str], data: object, *, as_json: bool) -> None:
    """Prints `data` as JSON, or `rows` under `columns`. Cells are plain text: markup in them is not obeyed."""
    if as_json:
        click.echo(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode())
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=False)
    for row in rows:
        table.add_row(*(escape(_cell(value)) for value in row))
    Console(soft_wrap=False, width=None if _is_terminal() else 240).print(table)


def say(text: str, *, as_json: bool = False) -> None:
    """Progress for people: on stderr where stdout carries JSON."""
    click.echo(text, err=as_json)


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def _cell(value: object) -> str:
    """Control characters are shown, not sent to the terminal."""
    text = "-" if value is None or value == "" else str(value)
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
