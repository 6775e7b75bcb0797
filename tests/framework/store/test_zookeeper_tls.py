"""The store over TLS, with a certificate of the client's own, against a real ZooKeeper that serves nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from daemonkit.errors import OperatorError
from framework.settings import FrameworkSettings
from framework.store.base import StoreUnusable, Write
from framework.store.opening import open_store
from framework.store.zookeeper import ZooKeeperStore
from framework.store.zookeeper_client import make_client
from tests.support.certificates import make_certificate
from tests.support.zookeeper import Member, running_secure_zookeeper

pytestmark = pytest.mark.xdist_group("zookeeper")


@dataclass
class Secure:
    server: Member
    directory: Path

    def settings(self, **flags: Any) -> FrameworkSettings:
        """With all that is needed; `flags` change it."""
        given = {
            "zk": f"zk://127.0.0.1:{self.server.port}/secure",
            "zk_tls": True,
            "zk_ca": self.directory / "ca.pem",
            "zk_certificate": self.directory / "client.pem",
            "zk_timeout": 60,
            "state_dir": self.directory / "state",
            **flags,
        }
        return FrameworkSettings.load({name: value for name, value in given.items() if value is not None})

    def store(self, **flags: Any) -> ZooKeeperStore:
        """That gives up soon."""
        settings = self.settings(**flags)
        assert settings.zookeeper is not None
        client = make_client(settings.zookeeper, session_timeout=5, tls=settings.zookeeper_tls)
        return ZooKeeperStore(client, settings.zookeeper.path, backups=self.directory, start_timeout=2.0)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    directory = tmp_path_factory.mktemp("secure")
    ca = make_certificate(directory / "ca.pem", "Test-CA")
    make_certificate(directory / "client.pem", "node1", ca=ca)
    make_certificate(directory / "other.pem", "Other-CA")
    server = make_certificate(directory / "server.pem", "127.0.0.1", ca=ca)
    with running_secure_zookeeper(directory / "server", server, ca) as member:
        yield Secure(member, directory)


async def test_the_state_is_kept_over_tls(secure: Secure) -> None:
    store = open_store(secure.settings())
    await store.open()
    assert await store.claim("node1:8080") >= 1
    await store.commit([Write("instances", "i1", b"1")])
    await store.close()
    again = open_store(secure.settings())
    await again.open()
    assert await again.get("instances", "i1") == b"1"
    await again.close()


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ({"zk_ca": "other.pem"}, "over TLS: check .* zk-ca"),
        ({"zk_certificate": None}, "over TLS: check .* zk-certificate"),
        ({"zk_tls": False}, "does not answer: check setting zk"),
    ],
    ids=["a server of another CA", "no certificate of its own", "no TLS"],
)
async def test_what_does_not_fit_stops_the_start_with_one_line(secure: Secure, flags: dict[str, Any], why: str) -> None:
    given = {name: secure.directory / value if isinstance(value, str) else value for name, value in flags.items()}
    store = secure.store(**given)
    try:
        with pytest.raises(StoreUnusable, match=why) as refused:
            await store.open()
        assert "\n" not in str(refused.value)
    finally:
        await store.close()


def test_a_file_that_cannot_be_used_is_named_by_its_settings(secure: Secure) -> None:
    with pytest.raises(OperatorError, match=r"TLS to ZooKeeper: .*--zk-ca, --zk-certificate, --zk-key"):
        open_store(secure.settings(zk_ca=secure.directory / "missing.pem"))
