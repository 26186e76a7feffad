"""Servers with the glade in them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from server.app import Everstep
from tests.gateway.glade import GAME, settings
from tests.gateway.visitor import serving


@pytest.fixture
async def app() -> AsyncIterator[Everstep]:
    """A server with the tests' defaults."""
    async with serving(settings(), GAME) as running:
        yield running
