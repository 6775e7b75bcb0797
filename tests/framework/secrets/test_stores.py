"""Secrets from files, from the embedded Consul and from a real server of Vault's API: the values, and one line for each failure."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from framework.engine.events import SecretsResolved
from framework.secrets.keeper import Keeper, Places
from tests.support.consul import ConsulServer
from tests.support.vault import VaultServer
from tests.support.waiting import eventually_async

VALUE = "s3cr3t-tür"


@contextlib.asynccontextmanager
async def fetched(*sources: str, **places: Any) -> AsyncIterator[tuple[Keeper, dict[str, str | None]]]:
    """A keeper that has fetched; and what it told."""
    told: list[SecretsResolved] = []
    keeper = Keeper(Places(**{"timeout": 60.0, **places}), told.append)  # type: ignore[arg-type]
    try:
        keeper.fetch(sources)
        await eventually_async(lambda: told, timeout=90, what="secrets are fetched, or not")
        assert VALUE not in repr(told) and VALUE not in repr(keeper)
        yield keeper, dict(told[0].problems)
    finally:
        await keeper.close()


async def test_a_file_is_read_without_its_last_line_break(tmp_path: Path) -> None:
    (tmp_path / "prod").mkdir()
    (tmp_path / "prod" / "db").write_text(VALUE + "\n")
    async with fetched("file:prod/db", directory=tmp_path) as (keeper, problems):
        assert problems == {"file:prod/db": None}
        assert keeper.value("file:prod/db").decode() == VALUE


async def test_links_lead_nowhere_out_of_the_folder(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "passwd"
    inside.mkdir()
    outside.write_text(VALUE)
    (inside / "bad").symlink_to(outside)
    (inside / "data").mkdir()
    (inside / "data" / "db").write_text(VALUE)
    (inside / "good").symlink_to(inside / "data" / "db")
    async with fetched("file:bad", "file:good", directory=inside) as (_, problems):
        assert problems["file:good"] is None
        assert "leads out" in str(problems["file:bad"])


async def test_files_that_cannot_be_read_are_one_line_each(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 101)
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    sources = ("file:none", "file:large", "file:folder", "file:loop", "file:../x", "nowhere", "consul:x", "vault:x")
    async with fetched(*sources, directory=tmp_path, most_bytes=100) as (keeper, problems):
        for source in sources:
            problem = problems[source]
            assert problem and "\n" not in problem, source
            with pytest.raises(Exception, match="has not been fetched"):
                keeper.value(source)
        assert "--secrets-vault-address" in str(problems["vault:x"])


async def test_a_value_is_not_kept_for_longer_than_a_launch_may_need_it(tmp_path: Path) -> None:
    (tmp_path / "db").write_text(VALUE)
    async with fetched("file:db", directory=tmp_path, keep_seconds=-1.0) as (keeper, problems):
        assert problems == {"file:db": None}
        with pytest.raises(Exception, match="has not been fetched"):
            keeper.value("file:db")


async def test_a_server_that_is_not_there_or_hangs_is_one_line(tmp_path: Path) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()  # until who asks has gone
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        vault = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with fetched("vault:x", vault_address=vault, timeout=0.3) as (_, problems):
            assert problems["vault:x"] == "Vault does not answer in time"
    async with fetched("consul:x", consul_address="http://127.0.0.1:1") as (_, problems):
        assert "Consul cannot be reached" in str(problems["consul:x"])


async def test_vault(vault: VaultServer, tmp_path: Path) -> None:
    vault.request("POST", "secret/data/prod/db", {"data": {"password": VALUE, "value": "plain", "port": 5432}})
    token = tmp_path / "token"
    token.write_text(vault.token + "\n")
    sources = ("vault:prod/db#password", "vault:prod/db", "vault:prod/db#port", "vault:prod/db#none", "vault:no/thing")
    async with fetched(*sources, vault_address=vault.url, vault_token_file=token) as (keeper, problems):
        assert keeper.value("vault:prod/db#password").decode() == VALUE
        assert keeper.value("vault:prod/db") == b"plain"
        assert keeper.value("vault:prod/db#port") == b"5432"
        assert problems["vault:prod/db#none"] == "Vault's secret secret/prod/db has no field none"
        assert "there is no such secret" in str(problems["vault:no/thing"])
    token.write_text("wrong")
    async with fetched("vault:prod/db", vault_address=vault.url, vault_token_file=token) as (_, problems):
        assert "access is denied" in str(problems["vault:prod/db"])
    async with fetched("vault:prod/db", vault_address=vault.url, vault_token_file=tmp_path / "none") as (_, problems):
        assert "token file" in str(problems["vault:prod/db"])


async def test_consul(embedded_consul: ConsulServer, tmp_path: Path) -> None:
    embedded_consul.http.put("kv/secrets/prod/db", data=VALUE.encode())
    embedded_consul.http.put("kv/other/db", data=b"elsewhere")
    token = tmp_path / "token"
    token.write_text("any\n")
    address = f"http://{embedded_consul.host}:{embedded_consul.port}"
    sources = ("consul:prod/db", "consul:none", "consul:../other/db")
    async with fetched(*sources, consul_address=address, consul_token_file=token) as (keeper, problems):
        assert keeper.value("consul:prod/db").decode() == VALUE
        assert problems["consul:none"] == "Consul's key secrets/none: there is no such secret"
        assert "is not a path" in str(problems["consul:../other/db"])
