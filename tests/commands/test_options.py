"""What the commands have in common: a start that is not waited for once somebody wants it to end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.app import opened
from server.cli import _serve
from server.commands.options import begun, ended
from server.store.sqlite import SqliteJournal
from tests.gateway.glade import GAME, settings

PATIENCE_S = 60.0


@pytest.mark.parametrize("stopped", [False, True])
async def test_what_has_begun_is_the_stacks_to_end(stopped: bool):
    stop, open_ = asyncio.Event(), []

    @contextlib.asynccontextmanager
    async def beginning() -> AsyncIterator[str]:
        if stopped:
            # In the same turn.
            stop.set()
        open_.append(1)
        yield "it"
        open_.clear()

    async with contextlib.AsyncExitStack() as stack:
        assert await begun(stack, beginning(), stop) == "it"
        assert open_
    assert not open_


async def test_a_stop_ends_what_does_not_begin():
    stop, open_ = asyncio.Event(), []

    @contextlib.asynccontextmanager
    async def beginning() -> AsyncIterator[None]:
        open_.append(1)
        try:
            stop.set()
            await asyncio.Event().wait()
            yield
        finally:
            open_.clear()

    async with asyncio.timeout(PATIENCE_S), contextlib.AsyncExitStack() as stack:
        assert await begun(stack, beginning(), stop) is None
        assert not open_


async def test_why_nothing_can_begin_is_told():
    @contextlib.asynccontextmanager
    async def beginning() -> AsyncIterator[None]:
        raise OSError("no such port")
        yield

    async with contextlib.AsyncExitStack() as stack:
        with pytest.raises(OSError, match="no such port"):
            await begun(stack, beginning(), asyncio.Event())


async def test_what_takes_a_cancellation_for_itself_is_cancelled_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("server.commands.options._AGAIN_S", 0.001)

    async def deaf() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE_S):
        await ended(task)
    assert task.cancelled()


async def test_a_server_whose_store_does_not_answer_at_its_start_can_be_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    stop = asyncio.Event()
    ours, before = settings(server__data_dir=tmp_path), asyncio.all_tasks()

    async def never(*_: object) -> None:
        stop.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr("server.cli.stop_signal", lambda: stop)
        patched.setattr(SqliteJournal, "claim", never)
        async with asyncio.timeout(PATIENCE_S):
            await _serve(ours, GAME, "tests.gateway.glade", 0, None)  # type: ignore[arg-type]  # nobody looks at the past
    assert {task for task in asyncio.all_tasks() - before if not task.done()} == set()
    # The directory is free, and nothing has become of it.
    async with opened(ours, GAME) as app:
        assert app.report is not None
        assert app.report.fresh
