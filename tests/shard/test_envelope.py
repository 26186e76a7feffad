"""Frames say who sent them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.shard.envelope import seal, unseal
from server.shard.errors import BatchError


@given(st.integers(0, 2**64 - 1), st.binary())
def test_what_was_sealed_is_there_with_the_epoch_it_was_sealed_under(epoch, frame):
    found, inner = unseal(seal(epoch, frame))
    assert (found, bytes(inner)) == (epoch, frame)


@pytest.mark.parametrize("data", [b"", b"1234567"])
def test_what_is_too_short_is_refused(data):
    with pytest.raises(BatchError):
        unseal(data)
