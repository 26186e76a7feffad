"""The table of states, what may be said in which, and the token bucket."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import OutOfOrder
from protocol.messages import Check, Hello, Input, Leave, Ping
from server.gateway.session import MAY_SAY, TRANSITIONS, Happening, Session, SessionState, TokenBucket

S, H = SessionState, Happening

# The table again, by hand: a change of one has to be a change of both.
TABLE = {
    S.CONNECTING: {H.ADMITTED: S.JOINING, H.LOST: S.CLOSED, H.ENDED: S.CLOSED},
    S.JOINING: {H.BOUND: S.JOINED, H.LOST: S.RESUMING, H.READMITTED: S.JOINING, H.ENDED: S.CLOSED},
    S.JOINED: {
        H.STALLED: S.LAGGING,
        H.LOST: S.RESUMING,
        H.RESUMED: S.JOINED,
        H.READMITTED: S.JOINING,
        H.ENDED: S.CLOSED,
    },
    S.LAGGING: {
        H.DRAINED: S.JOINED,
        H.LOST: S.RESUMING,
        H.RESUMED: S.JOINED,
        H.READMITTED: S.JOINING,
        H.ENDED: S.CLOSED,
    },
    S.RESUMING: {H.BOUND: S.RESUMING, H.RESUMED: S.JOINED, H.READMITTED: S.JOINING, H.ENDED: S.CLOSED},
    S.CLOSED: {},
}

SAID = [
    (Hello(1), {S.CONNECTING}),
    (Input(1, 16, []), {S.JOINED, S.LAGGING}),
    (Ping(0), {S.CONNECTING, S.JOINING, S.JOINED, S.LAGGING}),
    (Check(), {S.JOINED, S.LAGGING}),
    (Leave(), {S.JOINING, S.JOINED, S.LAGGING}),
]


def session_in(state: SessionState) -> Session:
    session = Session(7, None, TokenBucket(1.0, 1, 0.0), 0.0)
    session.state = state
    return session


@pytest.mark.parametrize(("state", "happening"), list(itertools.product(S, H)), ids=lambda part: part.value)
def test_every_happening_in_every_state_is_as_the_table_says(state: SessionState, happening: Happening):
    session = session_in(state)
    expected = TABLE[state].get(happening)
    if expected is None:
        with pytest.raises((AssertionError, KeyError)):
            session.on(happening, 5.0)
        assert (session.state, session.since_s) == (state, 0.0)
    else:
        session.on(happening, 5.0)
        # What leaves it in its state does not give it the time for that anew.
        assert (session.state, session.since_s) == (expected, 0.0 if expected is state else 5.0)


def test_the_table_has_no_row_that_is_not_walked():
    assert {(s, h): to for s, row in TABLE.items() for h, to in row.items()} == TRANSITIONS


def test_every_state_but_the_last_can_end():
    assert all((state, H.ENDED) in TRANSITIONS for state in S if state is not S.CLOSED)
    assert not [row for row in TRANSITIONS if row[0] is S.CLOSED]


@pytest.mark.parametrize("state", S, ids=lambda state: state.value)
@pytest.mark.parametrize(("message", "where"), SAID, ids=[type(message).__name__ for message, _ in SAID])
def test_every_message_in_every_state_is_taken_or_out_of_order(
    message: object, where: set[SessionState], state: SessionState
):
    session = session_in(state)
    if state in where:
        session.may_say(message)
    else:
        with pytest.raises(OutOfOrder, match=f"{type(message).__name__} has no place while {state.value}"):
            session.may_say(message)


def test_every_state_says_what_may_be_said():
    assert set(MAY_SAY) == set(S)


def test_a_bucket_gives_its_burst_at_once_and_not_one_more():
    bucket = TokenBucket(10.0, 5, 100.0)
    assert [bucket.take(100.0) for _ in range(7)] == [True] * 5 + [False] * 2


def test_a_bucket_refills_at_its_rate_and_never_above_its_burst():
    bucket = TokenBucket(8.0, 4, 0.0)
    assert [bucket.take(0.0) for _ in range(5)] == [True] * 4 + [False]
    # An eighth of a second is one token, exactly.
    assert bucket.take(0.125)
    assert not bucket.take(0.125)
    assert not bucket.take(0.1875)
    assert bucket.take(0.25)
    # A long silence fills it to the burst.
    assert [bucket.take(1000.0) for _ in range(5)] == [True] * 4 + [False]


def test_being_refused_costs_a_bucket_nothing():
    bucket = TokenBucket(1.0, 1, 0.0)
    assert bucket.take(0.0)
    assert not any(bucket.take(i / 64) for i in range(64))
    assert bucket.take(1.0)


@given(
    burst=st.integers(1, 20),
    per_s=st.sampled_from([0.5, 1.0, 4.0, 32.0]),
    # In 64ths of a second: sums are exact.
    steps=st.lists(st.integers(0, 128), max_size=200),
)
def test_over_any_time_a_bucket_gives_no_more_than_burst_and_rate(burst: int, per_s: float, steps: list[int]):
    bucket = TokenBucket(per_s, burst, 0.0)
    now_s, taken, credit = 0.0, 0, float(burst)
    for step in steps:
        now_s += step / 64
        credit = min(burst, credit + step / 64 * per_s)
        allowed = credit >= 1
        assert bucket.take(now_s) is allowed
        credit -= allowed
        taken += allowed
    assert taken <= burst + math.floor(now_s * per_s)
