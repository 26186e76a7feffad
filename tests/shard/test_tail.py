"""The table of what a journal's bytes amount to, row by row."""

import pytest

from server.shard.errors import JournalDamaged
from server.shard.journal import JournalRecord
from server.shard.tail import Tail, last_whole

SHARD = 3


def record(tick, previous, *, epoch=1, shard=SHARD, payload=b"input"):
    return JournalRecord(shard, tick, epoch, 1, payload * 3, previous).encode()


def kept(*changes):
    """Ticks 4, 6, 7, 11 as they are kept, each with its change: {tick: bytes}."""
    whole = {4: record(4, 2), 6: record(6, 4), 7: record(7, 6), 11: record(11, 7)}
    for change in changes:
        whole.update(change)
    return sorted(whole.items())


def flip(data, at):
    damaged = bytearray(data)
    damaged[at] ^= 0x10
    return bytes(damaged)


ROWS = {
    # name: (what is kept, after which tick, ticks to replay, the cut end or the damage in words)
    "clean": (kept(), 2, [4, 6, 7, 11], None),
    "clean, from a checkpoint between two records": (kept(), 3, [4, 6, 7, 11], None),
    "nothing": ([], 9, [], None),
    "torn record": (kept({11: record(11, 7)[:-5]}), 2, [4, 6, 7], "torn"),
    "torn within its head": (kept({11: record(11, 7)[:9]}), 2, [4, 6, 7], "torn"),
    "torn page": (kept({11: record(11, 7)[:60] + bytes(19)}), 2, [4, 6, 7], "torn"),
    "page never written": (kept({11: bytes(79)}), 2, [4, 6, 7], "torn"),
    "torn record inside": (
        kept({7: record(7, 6)[:-5]}),
        2,
        JournalDamaged,
        "tick 7: torn: .*; .* of tick 11 follows",
    ),
    "torn page inside": (
        kept({7: bytes(79)}),
        2,
        JournalDamaged,
        "tick 7: torn: .*; .* of tick 11 follows",
    ),
    "two torn records": (
        kept({7: b"", 11: b""}),
        2,
        JournalDamaged,
        "tick 7: torn: .*; .* of tick 11 follows",
    ),
    "bit flip inside": (kept({6: flip(record(6, 4), 60)}), 2, JournalDamaged, "tick 6: checksum"),
    "bit flip in a head inside": (kept({6: flip(record(6, 4), 20)}), 2, JournalDamaged, "tick 6: its head"),
    "bit flip in the tail": (kept({11: flip(record(11, 7), 60)}), 2, JournalDamaged, "tick 11: checksum"),
    "bit flip in the tail's length": (kept({11: flip(record(11, 7), 50)}), 2, JournalDamaged, "tick 11: its head"),
    "bit flip in the tail's checksum": (kept({11: flip(record(11, 7), -1)}), 2, JournalDamaged, "tick 11: checksum"),
    "gap, where one wrote past another": (
        kept({7: record(7, 4)}),
        2,
        JournalDamaged,
        "tick 7: a gap: it follows tick 4, and the last here is 6",
    ),
    "gap, a record is missing": (
        [row for row in kept() if row[0] != 6],
        2,
        JournalDamaged,
        "tick 7: a gap: it follows tick 6, and the last here is 4",
    ),
    "gap, the first is missing": (kept()[1:], 2, JournalDamaged, "tick 6: a gap: it follows tick 4"),
    "gap, trimmed past the checkpoint": (kept(), 1, JournalDamaged, "tick 4: a gap: it follows tick 2"),
    "duplicate tick with the same content": ([*kept()[:2], *kept()[1:]], 2, [4, 6, 7, 11], None),
    "duplicate tick with other content": (
        [*kept()[:2], (6, record(6, 4, epoch=2, payload=b"other")), *kept()[2:]],
        2,
        JournalDamaged,
        r"tick 6: two records differ \(epochs 1 and 2\)",
    ),
    "newer epoch after older": (kept({11: record(11, 7, epoch=5)}), 2, [4, 6, 7, 11], None),
    "older epoch after newer": (
        kept({7: record(7, 6, epoch=5)}),
        2,
        JournalDamaged,
        "tick 11: epoch 1 wrote after epoch 5",
    ),
    "future format version": (
        kept({11: record(11, 7)[:4] + b"\x03\x00" + record(11, 7)[6:]}),
        2,
        JournalDamaged,
        "tick 11: format 3; this program reads up to format 2",
    ),
    "kept under another tick": (kept({7: record(8, 6)}), 2, JournalDamaged, "here lies .* tick 8"),
    "kept under another shard": (kept({7: record(7, 6, shard=9)}), 2, JournalDamaged, "here lies .* shard 9"),
    "out of order": (kept()[::-1], 2, JournalDamaged, "."),
    "before what was asked for": (kept(), 5, JournalDamaged, "tick 4: it comes after tick 5"),
}


def judge(entries, after_tick):
    tail = Tail(SHARD, after_tick)
    judged = [tail.read(tick, data) for tick, data in entries]
    return [r.tick for r in judged if r is not None], tail.cut


@pytest.mark.parametrize("row", ROWS)
def test_each_row_of_the_table(row):
    entries, after_tick, expected, words = ROWS[row]
    if expected is JournalDamaged:
        with pytest.raises(JournalDamaged, match=words) as refusal:
            judge(entries, after_tick)
        assert refusal.value.shard == SHARD
        assert str(refusal.value).startswith(f"journal of shard {SHARD} damaged at tick {refusal.value.tick}: ")
    else:
        ticks, cut = judge(entries, after_tick)
        assert ticks == expected
        assert (cut is None) == (words is None)
        assert words is None or words in cut


@pytest.mark.parametrize(
    ("newest", "tick"),
    [
        ([], None),
        (kept()[-2:], 11),
        (kept()[-1:], 11),
        (kept({11: b""})[-2:], 7),
        ([(11, b"")], None),
    ],
)
def test_a_new_writer_follows_the_last_whole_record(newest, tick):
    last = last_whole(SHARD, newest)
    assert (last and last.tick) == tick


@pytest.mark.parametrize(
    "newest",
    [kept({11: flip(record(11, 7), 60)})[-2:], kept({7: b"", 11: b""})[-2:], [kept()[1], kept()[3]]],
)
def test_a_new_writer_follows_no_damage(newest):
    with pytest.raises(JournalDamaged):
        last_whole(SHARD, newest)
