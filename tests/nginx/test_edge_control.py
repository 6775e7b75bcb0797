"""The daemon's way into Nginx: changes in their order, and from nobody else."""

import pytest

from nginx.errors import ControlError
from nginx.table import Change
from tests.support.backends import backends
from tests.support.rig import LUA, Rig, instance, with_targets


@with_targets(LUA)
async def test_a_late_or_repeated_change_of_endpoints_is_refused(edge: Rig) -> None:
    async with backends("new") as (new,):
        await edge.show(instance(new))
        control = edge.proxy._control  # type: ignore[attr-defined]
        counter = (await control.state()).counter
        for stale in (counter, counter - 1, 0):
            with pytest.raises(ControlError, match="late"):
                await control.change(stale, Change({}, ("web",)))
        assert (await edge.ask()).text == "new"


@with_targets(LUA)
async def test_the_control_socket_wants_its_token(edge: Rig) -> None:
    token = edge.layout.token.read_text()
    edge.layout.token.chmod(0o600)
    edge.layout.token.write_text("another")
    try:
        with pytest.raises(ControlError, match="token"):
            await edge.proxy._control.state()  # type: ignore[attr-defined]
    finally:
        edge.layout.token.write_text(token)
