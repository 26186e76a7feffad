"""Sections: what may stand for true and false, whichever section it is."""

import pytest
from pydantic import ValidationError

from config.section import Section


class Lamp(Section):
    on: bool = False
    watts: int = 1


@pytest.mark.parametrize(("said", "meant"), [(0, False), (1, True), (False, False), (True, True)])
def test_zero_and_one_are_false_and_true(said, *, meant):
    assert Lamp(on=said).on is meant


@pytest.mark.parametrize("said", [2, -1, 1.0, "1", "true", None, []])
def test_nothing_else_is(said):
    with pytest.raises(ValidationError, match="valid boolean"):
        Lamp(on=said)


def test_a_number_is_a_number():
    assert (Lamp(watts=0).watts, type(Lamp(watts=1).watts)) == (0, int)
    with pytest.raises(ValidationError, match="valid integer"):
        Lamp(watts=True)
