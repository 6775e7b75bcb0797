from pathlib import Path
from typing import ClassVar

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, SecretStr

from daemonkit.errors import SettingsError
from daemonkit.settings import Seconds, Settings, parse_seconds


class Example(Settings):
    section: ClassVar[str] = "example"
    port: int = Field(8083, ge=0, le=65535, description="where it listens")
    resync: Seconds = Field(600.0, gt=0, description="how often everything is compared")
    tags: tuple[str, ...] = Field((), description="added to every service")
    dry: bool = Field(False, description="change nothing")
    password: SecretStr | None = Field(None, description="for the API")
    token: SecretStr = Field(SecretStr(""), description="for Consul")
    names: tuple[str, ...] = Field(("x", "y"), description="of neighbours")


def load(flags=None, environment=None, config=None) -> Example:
    return Example.load(flags or {}, environment=environment or {}, config=config)


def write(folder: Path, text: str) -> Path:
    path = folder / "dromos.toml"
    path.write_text(text)
    return path


def test_defaults_hold_where_nothing_is_said(tmp_path):
    assert load(config=write(tmp_path, "")) == Example()


def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default(tmp_path):
    config = write(tmp_path, '[example]\nport = 1\nresync = "2m"\ntags = ["file"]\n')
    environment = {"DROMOS_EXAMPLE_PORT": "2", "DROMOS_EXAMPLE_RESYNC": "30s"}
    settings = load({"port": "3", "resync": None, "tags": ()}, environment, config)
    assert (settings.port, settings.resync, settings.tags) == (3, 30.0, ("file",))


def test_a_list_is_given_with_commas_in_the_environment():
    assert load(environment={"DROMOS_EXAMPLE_TAGS": "a, b,,c"}).tags == ("a", "b", "c")


def test_an_empty_variable_is_none_where_empty_is_no_value(tmp_path):
    config = write(tmp_path, '[example]\nport = 1\ntags = ["file"]\n')
    settings = load(
        {}, dict.fromkeys(("DROMOS_EXAMPLE_PORT", "DROMOS_EXAMPLE_DRY", "DROMOS_EXAMPLE_RESYNC"), ""), config
    )
    assert (settings.port, settings.dry, settings.resync) == (1, False, 600.0)
    assert load({}, {"DROMOS_EXAMPLE_TAGS": ""}, config).tags == (), "an empty list is one"


def test_the_file_named_by_the_environment_is_read(tmp_path):
    assert load(environment={"DROMOS_CONFIG": str(write(tmp_path, "[example]\ndry = true\n"))}).dry


@pytest.mark.parametrize(
    ("flags", "environment", "file", "message"),
    [
        ({"port": "x"}, {}, "", "flag --port: Input should be a valid integer"),
        ({"port": "70000"}, {}, "", "flag --port: Input should be less than or equal to 65535 (given: '70000')"),
        ({"resync": "inf"}, {}, "", "flag --resync: Input should be a finite number (given: 'inf')"),
        ({}, {"DROMOS_EXAMPLE_RESYNC": "soon"}, "", "environment variable DROMOS_EXAMPLE_RESYNC: "),
        ({}, {}, "[example]\nprot = 1\n", "key example.prot of the configuration file: Extra inputs"),
        ({}, {}, "example = 1\n", "`example` is to be a table, [example]"),
        ({}, {}, "[example\n", "cannot be read"),
    ],
)
def test_a_bad_value_is_one_line_that_names_its_source(tmp_path, flags, environment, file, message):
    with pytest.raises(SettingsError) as caught:
        load(flags, environment, write(tmp_path, file))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_an_error_only_when_it_was_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load() == Example()
    with pytest.raises(SettingsError, match="does not exist"):
        load(config=tmp_path / "other.toml")


def test_a_secret_is_not_shown():
    settings = load(environment={"DROMOS_EXAMPLE_PASSWORD": "hunter2"})
    assert settings.password is not None and settings.password.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(settings)


def test_every_field_is_a_flag_with_its_help():
    @click.command()
    @Example.options()
    def command(**flags: object) -> None:
        click.echo(repr(Example.load(flags, environment={})))

    runner = CliRunner()
    text = runner.invoke(command, ["--help"]).output
    assert all(name in text for name in ("--port", "--resync", "--tags", "--dry / --no-dry", "DROMOS_EXAMPLE_PORT"))
    assert "[default: 8083]" in text and "[default: x,y]" in text
    assert text.count("[default:") == 4, "an empty list, a secret and nothing are no defaults to show"
    shown = runner.invoke(command, ["--port", "1", "--tags", "a", "--tags", "b", "--dry", "--resync", "1.5m"])
    assert repr(Example(port=1, tags=("a", "b"), dry=True, resync=90.0)) in shown.output


@given(st.floats(0, 1e9), st.sampled_from([("", 1), ("s", 1), ("ms", 0.001), ("m", 60), ("h", 3600), ("d", 86400)]))
def test_a_duration_is_its_number_times_its_unit(number, unit):
    suffix, factor = unit
    parsed = parse_seconds(f"{number}{suffix}")
    assert float(parsed) == pytest.approx(number * factor)  # type: ignore[arg-type]
