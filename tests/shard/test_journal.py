"""Journal records: what was written, or RecordError; never something else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.shard.errors import RecordError, ShardError
from server.shard.journal import JournalRecord

U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
RECORDS = st.builds(JournalRecord, U32, U64, U64, U32, st.binary(max_size=40))
RECORD = JournalRecord(shard=3, tick=12_345, epoch=7, simulation=2, payload=b"what the tick was given")


@given(RECORDS)
def test_a_record_reads_back_as_it_was(record):
    assert JournalRecord.decode(record.encode()) == record


@pytest.mark.parametrize("record", [RECORD, JournalRecord(0, 0, 0, 0, b"")])
def test_every_truncation_is_refused(record):
    data = record.encode()
    for size in range(len(data)):
        with pytest.raises(RecordError, match="torn"):
            JournalRecord.decode(data[:size])
    with pytest.raises(RecordError, match="torn"):
        JournalRecord.decode(data + b"\0")


@pytest.mark.parametrize("record", [RECORD, JournalRecord(0, 0, 0, 0, b"")])
def test_every_flipped_bit_is_refused(record):
    data = record.encode()
    for at in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[at // 8] ^= 1 << at % 8
        with pytest.raises(RecordError):
            JournalRecord.decode(bytes(damaged))


@given(RECORDS, st.integers(0, 200), st.binary(min_size=1, max_size=8))
def test_no_damage_makes_another_record(record, at, noise):
    data = record.encode()
    at %= len(data)
    damaged = data[:at] + noise + data[at + len(noise) :]
    try:
        assert JournalRecord.decode(damaged) == record
    except RecordError:
        assert damaged != data


@given(st.binary(max_size=100))
def test_any_bytes_are_no_record(noise):
    with pytest.raises(RecordError):
        JournalRecord.decode(noise)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda d: b"EVW1" + d[4:], "begins with b'EVW1'"),
        (lambda d: d[:4] + b"\x02\x00" + d[6:], "format 2; this program reads format 1"),
        (lambda d: d[:-1] + b"!", "checksum of tick 12345"),
        # The two bytes of padding are covered too.
        (lambda d: d[:6] + b"\x01" + d[7:], "checksum"),
    ],
)
def test_the_refusal_names_the_damage(damage, reason):
    with pytest.raises(RecordError, match=reason):
        JournalRecord.decode(damage(RECORD.encode()))


def test_refusals_share_a_root():
    assert issubclass(RecordError, ShardError)
