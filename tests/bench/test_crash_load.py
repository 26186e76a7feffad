"""The verdict: what books say of promises."""

import pytest

from bench.crash_client import Findings, Teller
from bench.crash_game import MASK, order_hash
from bench.crash_load import Load, Verdict, clean, judge


def total(*numbers):
    return sum(map(order_hash, numbers)) & MASK


# What was acknowledged; the books, or None where there are none; how many are lost, and doubled.
CASES = {
    "all there": ({1, 2, 3}, [3, 0, 3, total(1, 2, 3)], 0, 0),
    "more than was acknowledged": ({1, 2}, [3, 0, 3, total(1, 2, 3)], 0, 0),
    "the last two are missing": ({1, 2, 3}, [1, 0, 1, total(1)], 2, 0),
    "one in the middle is missing": ({1, 2, 3}, [2, 0, 3, total(1, 3)], 1, 0),
    "one came twice": ({1, 2}, [2, 1, 2, total(1, 2)], 0, 1),
    "the counts are right and the numbers are not": ({1, 2}, [2, 0, 2, total(2, 2)], 1, 0),
    "nobody knows the session": ({1, 2}, None, 2, 0),
    "nobody knows a session that was promised nothing": (set(), None, 0, 0),
}


@pytest.mark.parametrize(("acknowledged", "books", "lost", "doubled"), CASES.values(), ids=CASES.keys())
def test_judge(acknowledged, books, lost, doubled):
    found = judge([("a7", acknowledged)], {} if books is None else {"a7": books})
    assert found == Verdict(len(acknowledged), lost, doubled)


def test_sessions_add_up_and_the_worse_reading_counts():
    promises = [("1", {1, 2}), ("2", {1})]
    verdict = judge(promises, {"1": [1, 2, 1, total(1)]})
    assert verdict == Verdict(3, 2, 2)
    verdict.add(Verdict(5, 1, 7))
    assert verdict == Verdict(5, 2, 7)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"acknowledged": 0}, False),
        ({"lost": 1}, False),
        ({"doubled": 1}, False),
        ({"digest_mismatches": 1}, False),
        ({"forgotten": 1}, False),
        ({"refused": 1}, False),
        ({"reasons": ["why"]}, False),
    ],
)
def test_clean_is_nothing_wrong_and_something_done(change, expected):
    figures = {"acknowledged": 1, "lost": 0, "doubled": 0, "digest_mismatches": 0, "forgotten": 0, "refused": 0}
    assert clean({**figures, "reasons": [], **change}) is expected


def test_a_teller_gives_nothing_before_it_is_in_the_world():
    load = Load(2, 100.0)
    teller = Teller("ada", load.address, Findings())
    assert not teller.order()
    assert teller.settled
    assert load.promises() == [("0", set()), ("0", set())]
