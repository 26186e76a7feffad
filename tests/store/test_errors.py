"""What a store refuses is one tree, as drawn at the module's top."""

import pytest

from server.store import errors
from server.store.errors import OutOfSequence, StoreClosed, StoreError


@pytest.mark.parametrize("error", [StoreClosed, OutOfSequence])
def test_every_refusal_is_a_store_error_and_is_drawn(error):
    assert issubclass(error, StoreError)
    assert error.__name__ in errors.__doc__
