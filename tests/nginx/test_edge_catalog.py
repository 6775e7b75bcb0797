"""What the edge knows of Consul's services when Consul itself knows less than before."""

import asyncio
from pathlib import Path

from consul_template_py.sources.consul import ConsulSettings
from consul_template_py.watch import Watcher
from nginx.belief import healthy_count
from nginx.catalog import Catalog
from nginx.kept import Kept
from nginx.model import Instance
from tests.support.consul import running_real_consul
from tests.support.waiting import eventually_async


async def test_a_consul_that_has_forgotten_is_known_to_be_behind(tmp_path: Path) -> None:
    """A dev agent that is started again has forgotten everything, its index too."""
    with running_real_consul(tmp_path) as consul:
        for number in range(30):
            consul.register("web", f"web-{number}", port=80)
        async with Watcher(ConsulSettings(address=consul.url), most_retry=0.5) as watcher:
            catalog = Catalog(watcher, forget_after=60, kept=Kept(tmp_path / "kept.json"), on_change=lambda: None)
            await eventually_async(lambda: healthy_count(catalog.services) >= 30)
            assert not catalog.behind
            await asyncio.to_thread(consul.kill)
            await asyncio.to_thread(consul.start)
            await eventually_async(lambda: catalog.behind)


def test_what_is_kept_is_written_once_for_many_and_read_again(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "kept.json")
    for number in range(3):
        kept.keep(f"web-{number}", [Instance(f"id-{number}", f"web-{number}", "10.0.0.1", 80)], until=100.0 + number)
    assert not kept.path.exists(), "many may go at once, and each write goes to the disk"
    kept.save()
    kept.drop("web-1")
    kept.drop("never-there")
    kept.save()
    again = Kept(kept.path)
    again.load()
    assert {name: gone.until for name, gone in again.services.items()} == {"web-0": 100.0, "web-2": 102.0}
    kept.path.unlink()
    kept.save()
    assert not kept.path.exists(), "nothing has changed since"
