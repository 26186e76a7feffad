"""A process that appends to a SQLite journal, and says on its standard output what it was told is durable.

journal_process.py DIRECTORY stream            appends until it is killed: "durable TICK" each
journal_process.py DIRECTORY until-it-fails    the same, then "failed WORDS"; a newline on its input lets it end
"""

import asyncio
import os
import sys
from pathlib import Path

import structlog

from server.store.errors import StoreError
from server.store.sqlite import SqliteJournal
from tests.store.contract import record

# Appended ahead of what is durable, at the most.
BACKLOG_MAX = 40


def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def payload_of(tick):
    return b"%d" % tick * (tick % 700)


async def main(directory, wanted):
    try:
        journal = await SqliteJournal.open(directory)
    except StoreError as error:
        say("refused", error)
        return
    claim = await journal.claim(1)
    say("claimed", claim.epoch, claim.tick)
    tick = claim.tick
    while journal.failure is None:
        if journal.backlog < BACKLOG_MAX:
            journal.append(
                record(tick + 1, tick, epoch=claim.epoch, payload=payload_of(tick + 1)),
                lambda tick=tick + 1: say("durable", tick),
            )
            tick += 1
        await asyncio.sleep(0)
    assert wanted == "until-it-fails", journal.failure
    say("failed", journal.failure)
    sys.stdin.readline()
    await journal.close()
    say("closed")


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
