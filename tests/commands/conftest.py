"""A data directory with a pasture in it, whose server may still be running."""

from __future__ import annotations

import pytest

from config.settings import Settings
from server.store.checkpoint_files import FileCheckpoints
from server.store.sqlite import SqliteJournal
from tests.support.life import Life, live


@pytest.fixture
def settings():
    return Settings()


@pytest.fixture
async def life(tmp_path):
    """A life of 120 ticks, with checkpoints at 40 and 90, that goes on."""
    data = tmp_path / "data" / "pasture"
    journal, checkpoints = await SqliteJournal.open(data), FileCheckpoints(data)
    async with Life(journal=journal, checkpoints=checkpoints) as life:
        await live(life, 120, checkpoint_at=(40, 90))
        # What was appended is committed.
        await life.journal.spans()
        yield life
    await checkpoints.close()
    await journal.close()


@pytest.fixture
def data(life, tmp_path):
    return tmp_path / "data" / "pasture"
