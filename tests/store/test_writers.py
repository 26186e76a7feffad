"""Who may append what, without a medium."""

import pytest

from server.shard.ports import Claim
from server.store.errors import Fenced, OutOfSequence
from server.store.writers import Writers, next_epoch
from tests.store.contract import record


def test_a_refused_record_changes_nothing():
    writers = Writers()
    with pytest.raises(Fenced, match="nobody claimed"):
        writers.admit(record(1, 0))
    writers.grant(1, Claim(4, 7))
    for bad, error in [
        (record(8, 7, epoch=3), Fenced),
        (record(8, 7, epoch=5), Fenced),
        (record(8, 6, epoch=4), OutOfSequence),
        (record(7, 7, epoch=4), OutOfSequence),
        (record(8, 7, epoch=4, shard=2), Fenced),
    ]:
        with pytest.raises(error):
            writers.admit(bad)
    writers.admit(record(9, 7, epoch=4))
    writers.admit(record(10, 9, epoch=4))
    writers.revoke(1)
    with pytest.raises(Fenced):
        writers.admit(record(11, 10, epoch=4))


@pytest.mark.parametrize(("last", "wanted", "epoch"), [(0, None, 1), (6, None, 7), (6, 7, 7), (6, 70, 70)])
def test_epochs_rise(last, wanted, epoch):
    assert next_epoch(1, last, wanted) == epoch


@pytest.mark.parametrize(("last", "wanted"), [(0, 0), (6, 6), (6, 1)])
def test_epochs_never_fall_or_repeat(last, wanted):
    with pytest.raises(Fenced, match=f"epoch {wanted} claims it after epoch {last}"):
        next_epoch(1, last, wanted)
