"""Owners paused beyond their lease: a few, and that what they must not say is noticed."""

from tests.simulator.pauses import run
from tests.simulator.test_simulate import simulator


def test_an_owner_that_wakes_up_too_late_promises_nothing_that_is_not_so():
    outcome, pauses = run(0)
    assert outcome.violation is None
    assert pauses > 0
    assert outcome.promises["by the owner"] > 0


def test_a_promise_that_the_journal_does_not_keep_is_noticed():
    status, said = simulator("pauses", "--count", "5", "--plant", "receipts before the journal")
    assert status == 1
    assert "receipt of" in said or "which never was" in said or "its journal lacks it" in said
