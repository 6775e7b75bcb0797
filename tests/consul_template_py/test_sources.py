"""Vault, ZooKeeper and files as sources, each a real one."""

import asyncio
import contextlib
import json
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from pydantic import SecretStr

from consul_template_py.config import Config
from consul_template_py.errors import SourceRefusedError
from consul_template_py.http import Endpoint
from consul_template_py.query.files import FileQuery
from consul_template_py.query.vault import Secret, SecretQuery, SecretsQuery
from consul_template_py.query.zookeeper import ZchildrenQuery, ZnodeQuery
from consul_template_py.runner import Runner
from consul_template_py.sources.files import FileSource
from consul_template_py.sources.vault import VaultSettings, VaultSource
from consul_template_py.sources.zookeeper import ZookeeperSource
from consul_template_py.status import report
from consul_template_py.watch import Watcher
from tests.support.consul import ConsulServer
from tests.support.vault import VaultServer
from tests.support.waiting import eventually_async
from tests.support.zookeeper import Ensemble, running_ensemble

# files


async def test_a_file_is_read_again_when_it_changes_appears_or_goes(tmp_path: Path) -> None:
    path = tmp_path / "f"
    async with Watcher(sources={"file": FileSource(interval=0.02)}) as watcher:
        watch = watcher.watch(FileQuery(path))
        assert (await watch.changed()).value is None
        replace_by(path, "one")
        assert (await watch.changed()).value == "one"
        replace_by(path, "other")
        assert (await watch.changed()).value == "other"
        path.unlink()
        assert (await watch.changed()).value is None


def replace_by(path: Path, text: str) -> None:
    """In one step: else it would be empty for a moment."""
    other = path.with_suffix(".new")
    other.write_text(text)
    other.replace(path)


async def test_files_outside_of_the_folder_are_refused_by_links_too(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.write_text("secret")
    (inside / "link").symlink_to(outside)
    (inside / "fine").write_text("x")
    source = FileSource(folder=inside)
    assert await source.read(FileQuery(inside / "fine")) == "x"
    for path in (outside, inside / "link", inside / ".." / "outside"):
        with pytest.raises(SourceRefusedError, match="is outside of"):
            await source.read(FileQuery(path))


# ZooKeeper


@pytest.fixture
def client(ensemble: Ensemble) -> Iterator[KazooClient]:
    made = KazooClient(ensemble.hosts)
    try:
        made.start(60)
        yield made
    finally:
        made.stop()
        made.close()


@pytest.mark.xdist_group("zookeeper")
async def test_a_node_and_its_children_are_followed(ensemble: Ensemble, client: KazooClient) -> None:
    path = f"/{uuid.uuid4().hex}"
    async with Watcher(sources={"zookeeper": ZookeeperSource(ensemble.hosts)}) as watcher:
        node, children = watcher.watch(ZnodeQuery(path)), watcher.watch(ZchildrenQuery(path))
        assert (await node.changed()).value is None and (await children.changed()).value == ()
        client.create(path, "wert-ü".encode())
        assert (await node.changed()).value == "wert-ü"
        client.set(path, b"2")
        assert (await node.changed()).value == "2"
        client.create(f"{path}/b")
        client.create(f"{path}/a")
        await eventually_async(lambda: children.state.value == ("a", "b"))
        client.delete(path, recursive=True)
        await eventually_async(lambda: node.state.value is None and children.state.value == ())


@pytest.mark.xdist_group("zookeeper")
async def test_a_node_behind_an_access_list_needs_its_credentials(ensemble: Ensemble, client: KazooClient) -> None:
    from kazoo.security import make_digest_acl

    path = f"/{uuid.uuid4().hex}"
    client.create(path, b"secret", acl=[make_digest_acl("me", "pass", all=True)])
    stranger = ZookeeperSource(ensemble.hosts)
    friend = ZookeeperSource(ensemble.hosts, auth=SecretStr("digest:me:pass"))
    with pytest.raises(SourceRefusedError, match=r"set zookeeper\.auth"):
        await stranger.read(ZnodeQuery(path))
    assert await friend.read(ZnodeQuery(path)) == "secret"
    await stranger.close()
    await friend.close()


async def test_an_outage_of_zookeeper_keeps_the_value_and_ends_by_itself(tmp_path: Path) -> None:
    with running_ensemble(tmp_path, 1) as own, contextlib.ExitStack() as stack:
        (server,) = own.members
        writer = KazooClient(own.hosts)
        stack.callback(writer.close)
        stack.callback(writer.stop)
        await asyncio.to_thread(writer.start, 60)
        writer.create("/n", b"1")
        source = ZookeeperSource(own.hosts, timeout=1.0)
        async with Watcher(sources={"zookeeper": source}, most_retry=0.5) as watcher:
            node = watcher.watch(ZnodeQuery("/n"))
            await eventually_async(lambda: node.state.received and node.state.value == "1", 60)
            server.kill()
            await eventually_async(lambda: node.state.error, 60)
            assert node.state.value == "1"
            server.launch()
            await eventually_async(lambda: writer.connected and writer.set("/n", b"2"), 60)
            await eventually_async(lambda: node.state.value == "2" and node.state.fresh, 60)


# Vault


def unique(stem: str) -> str:
    """A name that no other test uses, nor a second run of this one: the server is the same."""
    return f"{stem}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
async def source(vault: VaultServer) -> AsyncIterator[VaultSource]:
    made = VaultSource(settings(vault))
    yield made
    await made.close()


def settings(vault: VaultServer, **more: object) -> VaultSettings:
    given: dict[str, object] = {"token": SecretStr(vault.token), "default_lease": 0.3, **more}
    return VaultSettings(Endpoint.parse(vault.url), **given)  # type: ignore[arg-type]


async def test_a_secret_of_kv_2_with_and_without_data_in_its_path(vault: VaultServer, source: VaultSource) -> None:
    own = unique("app")
    vault.request("PUT", f"secret/data/{own}/app/db", {"data": {"password": "hush"}})
    for path in (f"secret/{own}/app/db", f"secret/data/{own}/app/db"):
        secret = await source.read(SecretQuery(path))
        assert secret.data["data"]["password"] == "hush" and secret.data["metadata"]["version"] >= 1
    assert "hush" not in repr(secret)
    assert await source.read(SecretsQuery(f"secret/{own}/app")) == ("db",)
    assert await source.read(SecretsQuery(f"secret/{own}")) == ("app/",)
    assert await source.read(SecretsQuery("secret/nothing")) == ()


async def test_a_secret_of_kv_1(vault: VaultServer, source: VaultSource) -> None:
    mount = unique("kv1")
    vault.request("POST", f"sys/mounts/{mount}", {"type": "kv", "options": {"version": "1"}})
    vault.request("PUT", f"{mount}/app", {"user": "me"})
    assert dict((await source.read(SecretQuery(f"{mount}/app"))).data) == {"user": "me"}
    assert await source.read(SecretsQuery(mount)) == ("app",)


async def test_a_changed_secret_is_seen_after_its_time(vault: VaultServer) -> None:
    vault.request("PUT", "secret/data/rotating", {"data": {"v": "1"}})
    async with Watcher(sources={"vault": VaultSource(settings(vault))}) as watcher:
        watch = watcher.watch(SecretQuery("secret/rotating"))
        assert (await watch.changed()).value.data["data"]["v"] == "1"
        vault.request("PUT", "secret/data/rotating", {"data": {"v": "2"}})
        assert (await watch.changed()).value.data["data"]["v"] == "2"


async def test_a_certificate_is_made_by_asking_for_it(vault: VaultServer, source: VaultSource) -> None:
    mount = unique("pki")
    vault.request("POST", f"sys/mounts/{mount}", {"type": "pki"})
    vault.request("PUT", f"{mount}/root/generate/internal", {"common_name": "ca", "ttl": "10h"})
    vault.request("PUT", f"{mount}/roles/web", {"allow_any_name": True, "ttl": "1h"})
    secret: Secret = await source.read(SecretQuery(f"{mount}/issue/web", (("common_name", "web.example.com"),)))
    assert secret.data["certificate"].startswith("-----BEGIN CERTIFICATE") and secret.data["private_key"]


class Broker:
    """What Vault's RabbitMQ engine talks to: where it makes users, and when."""

    def __init__(self) -> None:
        made = self.made = []

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                made.append((time.monotonic(), self.path.rpartition("/")[2]))
                self.do_DELETE()

            def do_DELETE(self) -> None:
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def broker() -> Iterator[Broker]:
    made = Broker()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


async def test_a_dynamic_secret_is_renewed_as_long_as_it_may_be_and_then_made_anew(
    vault: VaultServer, broker: Broker
) -> None:
    mount = unique("rabbitmq")
    vault.request("POST", f"sys/mounts/{mount}", {"type": "rabbitmq"})
    connection = {"connection_uri": broker.url, "username": "a", "password": "b", "verify_connection": False}
    vault.request("POST", f"{mount}/config/connection", connection)
    vault.request("POST", f"{mount}/config/lease", {"ttl": 2, "max_ttl": 4})
    vault.request("POST", f"{mount}/roles/app", {"tags": "x"})
    source = VaultSource(settings(vault, renewal_threshold=0.25))
    async with Watcher(sources={"vault": source}) as watcher:
        watch = watcher.watch(SecretQuery(f"{mount}/creds/app"))
        names = [(await watch.changed()).value.data["username"] for _ in range(2)]
    (first, second), (began, ended) = [name for _, name in broker.made[:2]], [at for at, _ in broker.made[:2]]
    assert names == [first, second] and first != second
    assert ended - began >= 2, "without a renewal it would have been asked for again after a quarter of its time"


async def test_a_token_is_renewed_before_it_ends(vault: VaultServer) -> None:
    token = vault.request("POST", "auth/token/create", {"ttl": "10s", "policies": ["root"], "period": "10s"})
    given = token["auth"]["client_token"]
    async with Watcher(sources={"vault": VaultSource(settings(vault, token=SecretStr(given)))}) as watcher:
        vault.request("PUT", "secret/data/long", {"data": {"v": "1"}})
        watch = watcher.watch(SecretQuery("secret/long"))
        await watch.changed()
        created = vault.request("POST", "auth/token/lookup", {"token": given})["data"]["expire_time"]
        await eventually_async(
            lambda: vault.request("POST", "auth/token/lookup", {"token": given})["data"]["expire_time"] > created
        )
        assert watch.state.fresh


async def test_a_wrong_token_and_a_missing_secret_say_what_to_do(vault: VaultServer, source: VaultSource) -> None:
    stranger = VaultSource(settings(vault, token=SecretStr("nope")))
    with pytest.raises(SourceRefusedError, match="give a token that may read this"):
        await stranger.read(SecretQuery("secret/app/db"))
    await stranger.close()
    with pytest.raises(SourceRefusedError, match="Vault has nothing at secret/data/none"):
        await source.read(SecretQuery("secret/none"))


async def test_an_agents_token_file_is_read_for_each_request(vault: VaultServer, tmp_path: Path) -> None:
    vault.request("PUT", "secret/data/agent", {"data": {"v": "1"}})
    file = tmp_path / "token"
    file.write_text("wrong\n")
    source = VaultSource(settings(vault, token_file=file))
    with pytest.raises(SourceRefusedError):
        await source.read(SecretQuery("secret/agent"))
    file.write_text(f"{vault.token}\n")
    assert (await source.read(SecretQuery("secret/agent"))).data["data"]["v"] == "1"
    await source.close()


async def test_a_wrapping_token_is_opened_once_and_what_is_in_it_is_used(vault: VaultServer) -> None:
    vault.request("PUT", "secret/data/wrapped", {"data": {"v": "1"}})
    made = vault.request("POST", "auth/token/create", {"ttl": "1h", "policies": ["root"]}, wrap="60s")
    wrapping = SecretStr(made["wrap_info"]["token"])
    for _ in range(2):  # the second time as after the configuration has been read again
        source = VaultSource(settings(vault, token=wrapping, unwrap_token=True))
        reads = [source.read(SecretQuery("secret/wrapped")) for _ in range(3)]
        assert {secret.data["data"]["v"] for secret in await asyncio.gather(*reads)} == {"1"}
        await source.close()


async def test_a_wrapping_token_that_somebody_else_has_opened_is_said(vault: VaultServer) -> None:
    made = vault.request("POST", "auth/token/create", {"ttl": "1h", "policies": ["root"]}, wrap="60s")
    wrapping = made["wrap_info"]["token"]
    vault.request("PUT", "sys/wrapping/unwrap", token=wrapping)
    source = VaultSource(settings(vault, token=SecretStr(wrapping), unwrap_token=True))
    with pytest.raises(SourceRefusedError, match="it can be opened once, in its time: give another") as caught:
        await source.read(SecretQuery("secret/wrapped"))
    assert wrapping not in str(caught.value)
    await source.close()


# all of them at once


@pytest.mark.xdist_group("zookeeper")
async def test_one_template_may_read_all_sources_and_what_is_secret_is_shown_nowhere(
    vault: VaultServer,
    ensemble: Ensemble,
    client: KazooClient,
    embedded_consul: ConsulServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    vault.request("PUT", "secret/data/mixed", {"data": {"password": "hush;hush", "fine": "zebra"}})
    path = f"/mixed-{uuid.uuid4().hex[:8]}"
    client.create(path, b"zoo")
    embedded_consul.put("k", "consul")
    (tmp_path / "f").write_text("file")
    monkeypatch.setenv("MIXED", "env")
    value = "secret('secret/mixed').data.data"
    sources = f"{{{{ key('k') }}}} {{{{ znode('{path}') }}}} {{{{ file('{tmp_path}/f') }}}} {{{{ env('MIXED') }}}}"
    contents = {
        "good": f"{sources} {{{{ {value}.fine }}}}",
        "refused": f"{{# syntax: nginx #}}x {{{{ {value}.password }}}};",
        "broken": f"{{{{ {value}.password | parse_int }}}}",
        "made": f"{{{{ {value}.password | base64_encode | parse_int }}}}",
    }
    config = Config.model_validate(
        {
            "consul": {"address": embedded_consul.url},
            "vault": {"address": vault.url, "token": vault.token},
            "zookeeper": {"hosts": ensemble.hosts},
            "template": [{"contents": text, "destination": str(tmp_path / name)} for name, text in contents.items()],
        }
    )
    runner, stop = Runner(config), asyncio.Event()
    task = asyncio.create_task(runner.run(stop))
    try:
        await asyncio.wait_for(runner.settled(), 60)
        assert (tmp_path / "good").read_text() == "consul zoo file env zebra"
        shown = report(runner)
    finally:
        stop.set()
        await task
    errors = {Path(unit["destination"]).name: unit["error"] for unit in shown["templates"]}
    assert "outside of quotes" in errors["refused"]
    assert all("not a whole number" in errors[name] for name in ("broken", "made"))
    said = json.dumps(shown) + "".join(capfd.readouterr())
    assert "hush" not in said and "aHVza" not in said and "zebra" not in said
