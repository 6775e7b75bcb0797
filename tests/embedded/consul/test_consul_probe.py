"""What an agent's check finds, and that a check which is called off is over."""

import asyncio

import aiohttp

from embedded.consul.agent.definition import CheckDefinition
from embedded.consul.agent.probe import probe


async def test_a_check_that_is_called_off_is_over_at_whatever_moment_of_its_connection() -> None:
    """Else it would go on beside the one that has taken its place, and tell of the old address."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    check = CheckDefinition(id="tcp", name="tcp", tcp=address, interval=1.0, timeout=60.0)
    async with server, aiohttp.ClientSession() as session:
        for moments in range(25):
            probing = asyncio.create_task(probe(check, session, 4096))
            for _ in range(moments):
                await asyncio.sleep(0)
            called_off = probing.cancel()
            await asyncio.wait([probing])
            assert probing.cancelled() or not called_off, f"cancelled after {moments} turns of the loop, it goes on"
