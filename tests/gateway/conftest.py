"""Servers with the glade in them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from server.app import Everstep
from tests.gateway.glade import GAME, settings


@pytest.fixture
async def app() -> AsyncIterator[Everstep]:
    """A server with the tests' defaults."""
    async with Everstep(settings(), GAME) as running:
        yield running
