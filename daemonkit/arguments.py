"""Kinds of command-line values that several commands take."""

import click

from daemonkit.settings import parse_seconds


class Duration(click.ParamType[float]):
    """Seconds, written `90`, `90s`, `1.5m` or `250ms`."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        parsed = parse_seconds(value)
        try:
            return float(parsed)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            self.fail(f"{value!r} is not a duration like 90, 90s or 5m", param, ctx)
