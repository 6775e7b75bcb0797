from collections.abc import AsyncIterator

import pytest

from tests.support.memory_cluster import Framework, running_framework


@pytest.fixture
async def framework() -> AsyncIterator[Framework]:
    async with running_framework() as running:
        yield running
