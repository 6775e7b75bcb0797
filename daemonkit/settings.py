"""Settings of a daemon: one pydantic model, four sources. Flag > environment > dromos.toml > default.

A daemon declares its settings as a subclass of `Settings` with a `section`:

    class RegistratorSettings(Settings):
        section: ClassVar[str] = "registrator"
        resync: Seconds = Field(600.0, gt=0, description="how often everything is compared, in seconds")

`resync` is then the flag `--resync`, the variable `DROMOS_REGISTRATOR_RESYNC` and, in dromos.toml, `[registrator] resync = …`.
Without a section a field is the variable `DROMOS_…` and a key above the first table.
"""

import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar, get_args, get_origin

import click
from pydantic import AllowInfNan, BaseModel, BeforeValidator, ConfigDict, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from daemonkit.errors import SettingsError

CONFIG_VARIABLE = "DROMOS_CONFIG"
CONFIG_FILE = Path("dromos.toml")

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
Command = TypeVar("Command", bound=Callable[..., Any])


def parse_seconds(value: object) -> object:
    """`90`, `"90"`, `"90s"`, `"1.5m"`, `"250ms"` -> seconds. Anything else is left for the validator to refuse."""
    if isinstance(value, str):
        for unit in sorted(_UNITS, key=len, reverse=True):
            number = value.removesuffix(unit)
            if number != value:
                try:
                    return float(number) * _UNITS[unit]
                except ValueError:
                    return value
    return value


Seconds = Annotated[float, BeforeValidator(parse_seconds), AllowInfNan(False)]


class Settings(BaseModel):
    """Base of all settings. Instances are frozen; secrets are `SecretStr`, which no log or repr shows."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    section: ClassVar[str] = ""

    @classmethod
    def load(
        cls,
        flags: Mapping[str, object] | None = None,
        *,
        config: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """Merges the four sources. `flags` whose value is None (or an empty tuple) were not given.

        Raises SettingsError with one line that names the source of the bad value.
        """
        environment = os.environ if environment is None else environment
        values: dict[str, object] = {}
        sources: dict[str, str] = {}
        for name, value in _file_section(cls.section, config, environment).items():
            where = f"{cls.section}.{name}" if cls.section else name
            values[name], sources[name] = value, f"key {where} of the configuration file"
        for name, field in cls.model_fields.items():
            variable = cls.variable(name)
            if _says_something(field, environment.get(variable)):
                values[name] = _split(field, environment[variable])
                sources[name] = f"environment variable {variable}"
        for name, value in (flags or {}).items():
            if value is not None and value != ():
                values[name], sources[name] = value, f"flag {flag(name)}"
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError(_one_line(error, cls, sources)) from None

    @classmethod
    def variable(cls, name: str) -> str:
        """The environment variable of a field."""
        return "_".join(["DROMOS", *([cls.section] if cls.section else []), name]).upper().replace("-", "_")

    @classmethod
    def options(cls, *, skip: tuple[str, ...] = ()) -> Callable[[Command], Command]:
        """A decorator that gives a click command one flag per field. Values arrive as text and are checked by `load`."""

        def decorate(command: Command) -> Command:
            for name, field in reversed(cls.model_fields.items()):
                if name not in skip:
                    command = _option(cls, name, field)(command)
            return command

        return decorate


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _option(cls: type[Settings], name: str, field: FieldInfo) -> Callable[[Command], Command]:
    default = _show(field)
    shown = f"  [default: {default}]" if default else ""
    text = f"{field.description or ''}{shown}  [{cls.variable(name)}]"
    if field.annotation is bool:
        return click.option(f"{flag(name)}/--no-{flag(name)[2:]}", name, default=None, help=text)
    if _is_list(field):
        return click.option(flag(name), name, multiple=True, metavar="VALUE", help=text)
    return click.option(flag(name), name, default=None, metavar="VALUE", help=text)


def _show(field: FieldInfo) -> str:
    """The default as it would be given; "" where there is none, or an empty one."""
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    if default is None or isinstance(default, SecretStr):
        return ""
    return ",".join(map(str, default)) if isinstance(default, list | tuple | set | frozenset) else str(default)


def _is_list(field: FieldInfo) -> bool:
    annotations = [field.annotation, *get_args(field.annotation)]
    return any((get_origin(annotation) or annotation) in (list, tuple, frozenset, set) for annotation in annotations)


def _says_something(field: FieldInfo, value: str | None) -> bool:
    """An empty variable is a value where a text or a list may be empty, and as good as none elsewhere: `PORT=` in a unit's file."""
    return value is not None and (value.strip() != "" or field.annotation in (str, SecretStr) or _is_list(field))


def _split(field: FieldInfo, value: str) -> object:
    return [item.strip() for item in value.split(",") if item.strip()] if _is_list(field) else value


def _file_section(section: str, config: Path | None, environment: Mapping[str, str]) -> dict[str, object]:
    named = config or (Path(environment[CONFIG_VARIABLE]) if environment.get(CONFIG_VARIABLE) else None)
    path = named or CONFIG_FILE
    try:
        document = tomllib.loads(path.read_text())
    except FileNotFoundError:
        if named:
            raise SettingsError(f"configuration file {path} does not exist") from None
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"configuration file {path} cannot be read: {error}") from None
    if not section:
        return {key.replace("-", "_"): value for key, value in document.items() if not isinstance(value, dict)}
    found = document.get(section, {})
    if not isinstance(found, dict):
        raise SettingsError(f"configuration file {path}: `{section}` is to be a table, [{section}]")
    return {str(key).replace("-", "_"): value for key, value in found.items()}


def _one_line(error: ValidationError, cls: type[Settings], sources: Mapping[str, str]) -> str:
    problems = []
    for item in error.errors(include_url=False, include_context=False):
        name = str(item["loc"][0]) if item["loc"] else ""
        field = cls.model_fields.get(name)
        secret = field is not None and SecretStr in (field.annotation, *get_args(field.annotation))
        given = "" if secret or item["type"] in ("missing", "extra_forbidden") else f" (given: {item['input']!r})"
        where = sources.get(name, f"setting {name}: give {flag(name)} or {cls.variable(name)}" if name else "settings")
        problems.append(f"{where}: {item['msg'].removeprefix('Value error, ')}{given}")
    return "; ".join(problems)
