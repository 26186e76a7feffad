"""What a store refuses is one tree, as drawn at the module's top."""

import pytest

from server.store import errors
from server.store.errors import StoreError

TREE = [e for e in vars(errors).values() if isinstance(e, type) and e is not StoreError]


@pytest.mark.parametrize("error", TREE)
def test_every_refusal_is_a_store_error_and_is_drawn(error):
    assert issubclass(error, StoreError)
    assert error.__name__ in errors.__doc__
