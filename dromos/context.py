"""What every command has at hand: the API, and how to print."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import click

from dromos import output
from dromos.api import Api


@dataclass
class Context:
    api_url: str
    as_json: bool

    @cached_property
    def api(self) -> Api:
        return Api.of_environment(self.api_url)

    def say(self, text: str) -> None:
        output.say(text, as_json=self.as_json)

    def show(self, rows: Sequence[Sequence[object]], columns: Sequence[str], data: object) -> None:
        output.show(rows, columns, data, as_json=self.as_json)


_pass = click.make_pass_decorator(Context)


def pass_context(function: Callable[..., Any]) -> Callable[..., Any]:
    """Hands the Context to a command, and lets --json and --api-url stand behind the command's name too."""
    function = click.option("--json", is_flag=True, expose_value=False, callback=_set_json, help="print JSON")(function)
    function = click.option("--api-url", expose_value=False, callback=_set_url, hidden=True)(function)
    return _pass(function)


def _set_json(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    ctx.find_object(Context).as_json |= value  # type: ignore[union-attr]


def _set_url(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value:
        ctx.find_object(Context).api_url = value  # type: ignore[union-attr]
