"""Journal records: what was written, or RecordError; never something else."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.shard.errors import RecordError, RecordOfTheFuture, RecordTorn, ShardError
from server.shard.journal import OVERHEAD_BYTES, JournalRecord

U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
RECORDS = st.builds(JournalRecord, U32, U64, U64, U32, st.binary(max_size=40), U64, st.none() | U64)
RECORD = JournalRecord(
    shard=3, tick=12_345, epoch=7, simulation=2, payload=b"what the tick was given", previous=12_340, digest=2**63 + 1
)
HEARTBEAT = JournalRecord(3, 12_365, 7, 2, b"", 12_345, 99)
NOUGHT = JournalRecord(0, 0, 0, 0, b"", 0)


# RECORD as it is in each format that there was: what reads that format reads these bytes.
FORMAT_1 = bytes.fromhex(
    "45564a3101000100030000000200000039300000000000000700000000000000343000000000000001000000000000801700000044f3f5a0"
    "7768617420746865207469636b2077617320676976656eca7a71f908eafac8"
)


FORMAT_2 = bytes.fromhex(
    "45564a310200010003000000020000003930000000000000070000000000000034300000000000000100000000000080170000007baf77d1"
    "7768617420746865207469636b2077617320676976656edc98c8d52ce01b42"
)


@pytest.mark.parametrize(("format", "written"), [(1, FORMAT_1), (2, FORMAT_2)])
def test_what_was_written_once_is_read_for_ever(format, written):
    record = replace(RECORD, format=format)
    assert JournalRecord.decode(written) == record
    assert record.encode() == written


@given(RECORDS)
def test_a_record_reads_back_as_it_was(record):
    assert JournalRecord.decode(record.encode()) == record


def test_a_digest_of_nought_is_a_digest():
    assert JournalRecord.decode(JournalRecord(1, 1, 1, 1, b"", 0, 0).encode()).digest == 0
    assert JournalRecord.decode(JournalRecord(1, 1, 1, 1, b"", 0).encode()).digest is None


def test_a_record_costs_what_is_said_beside_its_payload():
    assert len(RECORD.encode()) - len(RECORD.payload) == len(NOUGHT.encode()) == OVERHEAD_BYTES


@pytest.mark.parametrize("record", [RECORD, HEARTBEAT, NOUGHT])
def test_every_truncation_is_torn(record):
    data = record.encode()
    for size in range(len(data)):
        with pytest.raises(RecordTorn, match="torn"):
            JournalRecord.decode(data[:size])


@pytest.mark.parametrize("record", [RECORD, HEARTBEAT, NOUGHT])
def test_every_end_that_was_never_written_is_torn(record):
    """A page that did not reach the disk is read as noughts."""
    data = record.encode()
    for size in range(len(data) - 8):
        with pytest.raises(RecordTorn, match="torn"):
            JournalRecord.decode(data[:size] + bytes(len(data) - size))


@pytest.mark.parametrize("record", [RECORD, HEARTBEAT, NOUGHT])
def test_every_flipped_bit_is_refused_and_is_not_taken_for_a_torn_end(record):
    data = record.encode()
    for at in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[at // 8] ^= 1 << at % 8
        with pytest.raises(RecordError) as refusal:
            JournalRecord.decode(bytes(damaged))
        assert not isinstance(refusal.value, RecordTorn), at


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
    ("damage", "error", "reason"),
    [
        (lambda d: b"EVW1" + d[4:], RecordError, "begins with b'EVW1'"),
        (lambda d: d[:4] + b"\x03\x00" + d[6:], RecordOfTheFuture, "format 3; this program reads up to format 2"),
        (lambda d: d[:12] + b"\x09" + d[13:], RecordError, "its head does not add up"),
        (lambda d: d[:60] + b"!" + d[61:], RecordError, "checksum of tick 12345"),
        (lambda d: d[:-1] + b"!", RecordError, "checksum of tick 12345"),
        (lambda d: d + bytes(8), RecordError, "8 bytes follow the record of tick 12345"),
        (lambda d: d[:50], RecordTorn, "50 bytes of a 56-byte head"),
        (lambda d: d[:-9], RecordTorn, "the last 9 bytes of tick 12345 are missing"),
        (lambda d: bytes(80), RecordTorn, "only the beginning"),
    ],
)
def test_the_refusal_names_the_damage(damage, error, reason):
    with pytest.raises(error, match=reason):
        JournalRecord.decode(damage(RECORD.encode()))


def test_refusals_share_a_root():
    assert issubclass(RecordTorn, RecordError)
    assert issubclass(RecordOfTheFuture, RecordError)
    assert issubclass(RecordError, ShardError)
