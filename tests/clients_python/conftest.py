"""A live server with a small game."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from config.settings import load
from server.app import Everstep
from tests.clients_python.pasture import GAME


@pytest.fixture
async def pasture(data_dir: Path) -> AsyncIterator[Everstep]:
    """A small region, so that a walk soon leaves one's cell."""
    settings = load(
        overrides={
            "server.port": 0,
            "server.data_dir": data_dir,
            "world.width": 256.0,
            "world.height": 256.0,
            "world.x": -100.0,
            "view.cell_units": 16.0,
            "view.near_cells": 1,
            "view.far_cells": 3,
        },
        environment={},
    )
    async with Everstep(settings, GAME) as app:
        yield app
