"""Flags as Go's flag package reads them, for the commands that take the place of Go programs.

`-name value`, `-name=value`, `--name=value`, and for switches `-name`, `-name=true`, `-name=false`. A command's own options say which
names there are; what is none of them is left to click.
"""

from collections.abc import Sequence

import click

# What strconv.ParseBool takes.
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


class GoFlagsCommand(click.Command):
    """A click command whose flags may be written in Go's way too."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, as_click(self.get_params(ctx), args, whole=True))


class GoFlagsGroup(click.Group):
    """The same for a group: its own flags stand before the name of a subcommand."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, as_click(self.get_params(ctx), args, whole=False))


def as_click(parameters: Sequence[click.Parameter], words: Sequence[str], *, whole: bool) -> list[str]:
    """The words with flags in Go's way turned into click's. Without `whole` it ends with the first word that is no flag.

    Raises click.BadParameter for a switch whose value is neither true nor false.
    """
    known = _known(parameters)
    made: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in ("-", "--") or not word.startswith("-"):
            made.append(word)
            if whole and word not in ("-", "--"):
                continue
            return made + rest
        name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        option = known.get(name)
        if option is None:
            made.append(word)
        elif option.is_flag:
            made += _switch(option, name, value if equals else "true")
        else:
            made.append(_long(option.opts))
            if equals:
                made.append(value)
            elif rest:
                made.append(rest.pop(0))
    return made


def _known(parameters: Sequence[click.Parameter]) -> dict[str, click.Option]:
    """Names without dashes. One letter stays with click, which may join several of them."""
    options = [parameter for parameter in parameters if isinstance(parameter, click.Option)]
    names = [(name.lstrip("-"), option) for option in options for name in (*option.opts, *option.secondary_opts)]
    return {name: option for name, option in names if len(name) > 1}


def _switch(option: click.Option, name: str, value: str) -> list[str]:
    if value not in _TRUE + _FALSE:
        raise click.BadParameter(f"{value!r} is neither true nor false", param=option)
    on = (value in _TRUE) == (f"--{name}" in option.opts or f"-{name}" in option.opts)
    if on:
        return [_long(option.opts)]
    return [_long(option.secondary_opts)] if option.secondary_opts else []


def _long(names: Sequence[str]) -> str:
    return next((name for name in names if name.startswith("--")), names[0])
