"""The daemon as an operator meets it: settings, health, metrics, a clean end."""

import socket
import sys
from collections.abc import Mapping

import pytest

from daemonkit.errors import SettingsError
from registrator.settings import RegistratorSettings, consul_of_registry
from tests.support.marathon import Marathon
from tests.support.processes import finished, free_port
from tests.support.waiting import eventually


def load(flags: Mapping[str, object] | None = None, **environment: str) -> RegistratorSettings:
    variables = {f"DROMOS_REGISTRATOR_{name.upper()}": value for name, value in environment.items()}
    return RegistratorSettings.load(flags, environment=variables)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"sources": ("kubernetes",)}, "--sources"),
        ({"consul": "http://user:secret@host"}, "without a password"),
        ({"mesos": ("ftp://x",)}, "HOST:PORT or an http or https URL"),
        ({"marathon": ("zk://a:1/x",)}, "HOST:PORT or an http or https URL"),
        ({"owner": "a b"}, "1 to 64 letters"),
        ({"separator": "/"}, "must be made of"),
        ({"ip": "example.org"}, "--ip"),
        ({"resync": "0"}, "--resync"),
        ({"mesos_credentials": "geheim"}, "NAME:SECRET"),
        ({"ip_version": "5"}, "--ip-version"),
        ({"deregister": "never"}, "--deregister"),
        ({"ttl": "60", "ttl_refresh": "60"}, "must be less than --ttl"),
        ({"retry_attempts": "-2"}, "--retry-attempts"),
    ],
)
def test_a_bad_setting_is_named_in_one_line_without_its_secret(settings: dict[str, object], problem: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load(settings)
    assert problem in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "geheim" not in str(raised.value)


def test_addresses_may_be_written_short_and_in_one_variable() -> None:
    settings = load(
        mesos="zk://a:2181,b:2181/mesos, 10.0.0.1:5050", marathon="10.0.0.1:8080,https://m/", consul="localhost:8500"
    )
    assert settings.mesos == ("zk://a:2181,b:2181/mesos", "http://10.0.0.1:5050")
    assert settings.marathon == ("http://10.0.0.1:8080", "https://m")
    assert settings.consul == "http://localhost:8500"


@pytest.mark.parametrize(
    ("flags", "sources", "all_containers"),
    [
        ({}, ("mesos", "framework"), False),
        ({"docker": True}, ("mesos", "framework", "docker"), False),
        ({"docker": True, "docker_all": True}, ("mesos", "framework", "docker"), True),
        ({"sources": ("docker",)}, ("docker",), True),
        ({"sources": ("docker",), "docker_all": False}, ("docker",), False),
        ({"sources": ("framework", "framework")}, ("framework",), False),
    ],
)
def test_which_sources_are_used(flags: dict[str, object], sources: tuple[str, ...], all_containers: bool) -> None:
    settings = load(flags)
    assert (settings.used_sources, settings.all_containers) == (sources, all_containers)


def test_tags_are_separated_by_commas_as_registrator_s_are() -> None:
    assert load({"tags": ("a,b\\,c", "d")}).tags == ("a", "b,c", "d")


@pytest.mark.parametrize(("given", "seconds"), [("2000", 2.0), (500, 0.5), ("2s", 2.0), ("10ms", 0.01)])
def test_a_bare_retry_interval_is_in_milliseconds_as_registrator_s_is(given: object, seconds: float) -> None:
    assert load({"retry_interval": given}).retry_interval == seconds


@pytest.mark.parametrize(
    ("uri", "consul"),
    [
        ("consul://127.0.0.1:8500", "http://127.0.0.1:8500"),
        ("consul://consul:8500/", "http://consul:8500"),
        ("consul-tls://consul:8501", "https://consul:8501"),
        ("etcd://127.0.0.1:4001/services", None),
        ("consul:", None),
    ],
)
def test_registrator_s_registry_is_consul_s_address(uri: str, consul: str | None) -> None:
    if consul is None:
        with pytest.raises(SettingsError, match="writes to Consul alone"):
            consul_of_registry(uri)
    else:
        assert load({"consul": consul_of_registry(uri)}).consul == consul


def test_registrator_s_command_line_is_understood_and_a_consul_that_is_away_ends_it_after_the_attempts() -> None:
    words = (
        "-ip=10.0.0.1 -internal=false -explicit -ttl 60 -ttl-refresh 30 -resync 600 -deregister=on-success -cleanup "
    )
    words += f"-tags a,b -retry-attempts 2 -retry-interval 10 --port {free_port()} consul://127.0.0.1:1"
    done = finished([sys.executable, "-m", "registrator.daemon", *words.split()])
    assert done.returncode == 1
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert error.startswith("error: Consul at http://127.0.0.1:1 does not answer")
    assert error.endswith("given up after 3 attempts (--retry-attempts)")
    assert done.stderr.count("Consul does not answer at the start") == 3


def test_a_taken_port_ends_it_with_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = finished([sys.executable, "-m", "registrator.daemon", "--port", str(port)])
    assert done.returncode == 1
    assert done.stderr == (
        f"error: the registrator cannot listen on 127.0.0.1:{port}: Address already in use; choose another port with --port\n"
    )


def test_health_tells_what_is_away(registrator) -> None:
    mesos, marathon, consul = (free_port() for _ in range(3))
    daemon = registrator(
        process=True,
        ready=False,
        mesos=[f"127.0.0.1:{mesos}"],
        marathon=[f"127.0.0.1:{marathon}"],
        consul=f"127.0.0.1:{consul}",
    )

    def parts() -> dict[str, str]:
        return {name: part["why"] for name, part in daemon.health().json()["parts"].items()}

    eventually(lambda: "has not reported yet" not in parts().values())
    assert daemon.health().status_code == 503
    assert str(mesos) in parts()["mesos"]
    assert str(marathon) in parts()["framework"]
    assert str(consul) in parts()["consul"]


def test_sigterm_ends_it_at_once_and_leaves_what_is_registered(real_consul, registrator) -> None:
    with Marathon().serving() as marathon:
        marathon.put_app("/web")
        marathon.put_task("/web", ports=[31001])
        daemon = registrator(process=True, sources=["framework"], marathon=[marathon.url], consul=real_consul.url)
        eventually(lambda: real_consul.http.get("catalog/service/web").json())
        daemon.process.terminate()
        daemon.process.wait(30)
    assert real_consul.http.get("catalog/service/web").json()
    assert "rror" not in daemon.log.read_text()


def test_metrics_count_what_was_done(real_consul, registrator) -> None:
    with Marathon().serving() as marathon:
        marathon.put_app("/web")
        for port in (31001, 31002):
            marathon.put_task("/web", ports=[port])
        daemon = registrator(sources=["framework"], marathon=[marathon.url], consul=real_consul.url)
        eventually(lambda: daemon.metric("dromos_registrator_services") == 2)
        eventually(lambda: daemon.metric("dromos_registrator_writes_total", kind="register") == 2)
        assert daemon.metric("dromos_registrator_instances", verdict="wanted") == 2
        assert daemon.metric("dromos_registrator_source_up", source="framework") == 1
        eventually(lambda: marathon.listeners)
        before = daemon.metric("dromos_registrator_lag_seconds_count")
        marathon.announce("status_update_event")
        eventually(lambda: daemon.metric("dromos_registrator_lag_seconds_count") > before)
