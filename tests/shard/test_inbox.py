"""The inbox: whatever the order of arrival, one order; nothing lost, nothing doubled, nothing without bound."""

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from protocol.schema import Argument, CommandSchema
from server.shard.errors import BatchError
from server.shard.inbox import Inbox
from server.shard.machine import CHAIN, JOIN, LEAVE, NOTHING, PRESENCE, SYSTEM_COMMANDS
from tests.support.orders import batch

MOVE = CommandSchema(16, "move", (Argument("x", "f32"),), latest_wins=True, reliable=False)
BUY = CommandSchema(17, "buy", (Argument("what", "u8"),), latest_wins=False, reliable=True)
SAY = CommandSchema(18, "say", (Argument("text", "utf8", size=12),), latest_wins=False, reliable=False)
SHAPES = {c.id: c for c in (*SYSTEM_COMMANDS, MOVE, BUY, SAY)}


def order(session, seq):
    """The command that this session sends under this number: the same each time it is sent."""
    name, value = (("move", seq / 2), ("buy", seq % 250), ("say", b"%d" % seq))[(session * 7 + seq) % 3]
    return name, session, seq, value


class Books:
    """What a machine knows of its sessions."""

    def __init__(self, *sessions):
        self.applied = dict.fromkeys(sessions, 0)

    def high_water(self, sessions):
        return np.array([self.applied.get(s, -1) for s in sessions.tolist()], np.int64)

    def take(self, inbox):
        """One tick."""
        taken = inbox.take(self.high_water)
        self.applied.update(taken.processed.tolist())
        return taken


def inbox_of(commands_max=1000, share=1000):
    return Inbox(SHAPES, commands_max, share)


def taken_orders(taken):
    return {k: records.tolist() for k, records in taken.batches.items()}


def test_the_order_of_arrival_and_the_cut_of_batches_count_for_nothing():
    draw = random.Random(5)
    orders = [order(s, q) for s in (3, 900, 2**63 + 5) for q in range(1, 9)]
    orders += [("join", 3, 0, b"p", b"Ada"), ("presence", 900, 4, 1), ("presence", 900, 5, 0), ("leave", 3, 0)]
    seen = set()
    for _ in range(200):
        draw.shuffle(orders)
        inbox = inbox_of(share=5)
        start = 0
        while start < len(orders):
            end = start + draw.randrange(1, len(orders) + 1)
            assert inbox.offer(batch(SHAPES, orders[start:end]))
            start = end
        books = Books(3, 900, 2**63 + 5)
        ticks = [books.take(inbox) for _ in range(3)]
        assert ticks[2].empty
        seen.add(tuple(t.encode() for t in ticks))
    assert len(seen) == 1


def test_a_ticks_input_is_sorted_by_kind_then_session_then_number():
    inbox = inbox_of()
    inbox.offer(batch(SHAPES, [order(s, q) for s in (5, 1, 3) for q in (9, 2, 4, 7)]))
    taken = inbox.take(Books(1, 3, 5).high_water)
    assert list(taken.batches) == sorted(taken.batches)
    for records in taken.batches.values():
        keys = [r[:2] for r in records.tolist()]
        assert keys == sorted(keys)
    assert taken.processed.tolist() == [(1, 9), (3, 9), (5, 9)]


def test_of_latest_wins_each_sessions_newest_counts_and_all_are_processed():
    inbox = inbox_of()
    inbox.offer(batch(SHAPES, [("move", 1, 3, 3.0), ("move", 2, 1, 1.0), ("move", 1, 9, 9.0)]))
    inbox.offer(batch(SHAPES, [("move", 1, 5, 5.0)]))
    taken = inbox.take(Books(1, 2).high_water)
    assert taken_orders(taken) == {MOVE.id: [(1, 9, 9.0), (2, 1, 1.0)]}
    assert taken.processed.tolist() == [(1, 9), (2, 1)]


@pytest.mark.parametrize("cut", ["in one batch", "over two batches", "over two ticks"])
def test_what_is_sent_twice_is_taken_once(cut):
    inbox, books = inbox_of(), Books(1)
    orders = [("buy", 1, q, q) for q in (1, 2, 3)]
    if cut == "in one batch":
        inbox.offer(batch(SHAPES, orders + orders))
    elif cut == "over two batches":
        inbox.offer(batch(SHAPES, orders))
        inbox.offer(batch(SHAPES, orders))
    else:
        inbox.offer(batch(SHAPES, orders))
    first = books.take(inbox)
    if cut == "over two ticks":
        inbox.offer(batch(SHAPES, orders))
        assert books.take(inbox).empty
    assert taken_orders(first) == {BUY.id: [(1, 1, 1), (1, 2, 2), (1, 3, 3)]}
    assert +inbox.dropped == {"duplicate": 3}
    assert inbox.depth == 0


def test_strangers_are_dropped_and_counted_and_others_go_on():
    inbox = inbox_of()
    inbox.offer(batch(SHAPES, [("buy", 8, 1, 1), ("buy", 1, 1, 1), ("buy", 8, 2, 1), ("buy", 8, 2, 1)]))
    taken = inbox.take(Books(1).high_water)
    assert taken_orders(taken) == {BUY.id: [(1, 1, 1)]}
    assert taken.processed.tolist() == [(1, 1)]
    assert +inbox.dropped == {"unknown_session": 3}


def test_strangers_may_join():
    inbox = inbox_of()
    inbox.offer(batch(SHAPES, [("join", 8, 0, b"p", b"Ada"), ("leave", 9, 0), ("presence", 7, 1, 0)]))
    taken = inbox.take(Books().high_water)
    assert sorted(taken.batches) == [JOIN, LEAVE, PRESENCE]
    assert not taken.processed.size
    assert not taken.empty


def test_of_the_engines_own_commands_the_newest_of_each_session_counts():
    inbox = inbox_of()
    inbox.offer(batch(SHAPES, [("presence", 7, 2, 1), ("presence", 7, 1, 0), ("presence", 6, 1, 0)]))
    inbox.offer(batch(SHAPES, [("join", 8, 0, b"p", b"Ada")]))
    inbox.offer(batch(SHAPES, [("join", 8, 0, b"p", b"Ada"), ("presence", 7, 3, 0)]))
    taken = inbox.take(Books().high_water)
    assert taken_orders(taken) == {JOIN: [(8, 0, b"p", b"Ada")], PRESENCE: [(6, 1, 0), (7, 3, 0)]}


def test_a_session_has_its_share_and_the_rest_follows_in_order():
    inbox, books = inbox_of(share=3), Books(1, 2)
    inbox.offer(batch(SHAPES, [order(1, q) for q in range(1, 9)] + [order(2, 1)]))
    processed = []
    while inbox.depth:
        processed.append(books.take(inbox).processed.tolist())
    assert processed == [[(1, 3), (2, 1)], [(1, 6)], [(1, 8)]]


def test_a_full_inbox_refuses_all_of_the_newest_batchs_commands_and_counts_them():
    inbox = inbox_of(commands_max=5)
    assert inbox.offer(batch(SHAPES, [("buy", 1, q, 0) for q in (1, 2, 3)]))
    assert not inbox.offer(batch(SHAPES, [("buy", 2, q, 0) for q in (1, 2, 3)]))
    assert inbox.depth == 3
    assert +inbox.dropped == {"inbox_full": 3}
    assert inbox.offer(batch(SHAPES, [("buy", 3, 1, 0), ("leave", 4, 0)])), "two more fit"
    taken = inbox.take(Books(1, 2, 3).high_water)
    assert taken.processed.tolist() == [(1, 3), (3, 1)]
    assert inbox.offer(batch(SHAPES, [("buy", 2, q, 0) for q in range(1, 6)])), "it is empty again"


def test_a_full_inbox_still_takes_who_comes_and_goes():
    inbox = inbox_of(commands_max=2)
    assert inbox.offer(batch(SHAPES, [order(1, 1), order(1, 2)]))
    engines = [("join", 8, 0, b"p", b"Ada"), ("leave", 2, 0), ("presence", 1, 3, 0)]
    assert inbox.offer(batch(SHAPES, engines[:1])), "nothing of the game's was refused"
    assert not inbox.offer(batch(SHAPES, [*engines[1:], order(1, 3), order(1, 4), order(1, 5)]))
    assert inbox.dropped == {"inbox_full": 3}
    assert inbox.depth == 5
    taken = inbox.take(Books(1, 2).high_water)
    assert {JOIN, LEAVE, PRESENCE} < set(taken.batches)
    assert taken.processed.tolist() == [(1, 2)]
    assert inbox.depth == 0


def test_what_waits_for_its_turn_counts_towards_the_bound():
    inbox, books = inbox_of(commands_max=6, share=1), Books(1, 2)
    inbox.offer(batch(SHAPES, [order(1, q) for q in range(1, 7)]))
    books.take(inbox)
    assert inbox.depth == 5
    assert not inbox.offer(batch(SHAPES, [order(2, 1), order(2, 2)]))
    assert inbox.offer(batch(SHAPES, [order(2, 1)]))


def test_an_empty_inbox_gives_nothing():
    assert inbox_of().take(Books(1).high_water) is NOTHING
    inbox = inbox_of()
    inbox.offer(batch(SHAPES, [("buy", 1, 1, 0)]))
    assert inbox.take(Books().high_water).empty, "strangers alone are no input"


GARBAGE = {
    "no bytes": b"",
    "no msgpack": b"\xc1",
    "no list": b"\x05",
    "no pairs": b"\x93\x01\x02\x03",
    "torn": batch(SHAPES, [("buy", 1, 1, 1)])[:-1],
    "more than a batch": batch(SHAPES, [("buy", 1, 1, 1)]) + b"\x00",
    "an unknown command": b"\x91\x92\x63\xc4\x01a",
    "part of a record": b"\x91\x92\x11\xc4\x05abcde",
    "text for bytes": b"\x91\x92\x11\xa5abcde",
    "a number for bytes": b"\x91\x92\x11\x05",
    "no records": b"\x91\x92\x11\xc4\x00",
    "a command twice": b"\x92" + batch(SHAPES, [("buy", 1, 1, 1)])[1:] * 2,
    "commands out of order": b"\x92" + batch(SHAPES, [("buy", 1, 1, 1)])[1:] + batch(SHAPES, [("leave", 1, 0)])[1:],
    "true, which equals 1, for join": b"\x91\x92\xc3" + batch(SHAPES, [("join", 1, 0, b"", b"")])[3:],
    "2.0 for leave": b"\x91\x92\xcb" + b"\x40" + bytes(7) + batch(SHAPES, [("leave", 1, 0)])[3:],
    "a list for a command": b"\x91\x92\x90\xc4\x01a",
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_refused_and_changes_nothing(name):
    inbox = inbox_of()
    inbox.offer(batch(SHAPES, [("buy", 1, 1, 1)]))
    with pytest.raises(BatchError):
        inbox.offer(GARBAGE[name])
    assert inbox.depth == 1
    assert not inbox.dropped
    assert taken_orders(inbox.take(Books(1).high_water)) == {BUY.id: [(1, 1, 1)]}


@given(data=st.binary(max_size=80), at=st.integers(0, 200), bit=st.integers(0, 7))
def test_any_bytes_are_taken_or_refused(data, at, bit):
    whole = bytearray(batch(SHAPES, [order(1, q) for q in range(1, 6)]))
    whole[at % len(whole)] ^= 1 << bit
    for offered in (data, bytes(whole)):
        inbox = inbox_of()
        try:
            inbox.offer(offered)
        except BatchError:
            assert inbox.depth == 0
        inbox.take(Books(1).high_water).encode()


class Model(RuleBasedStateMachine):
    """Any arrivals over any ticks, beside a list."""

    @initialize(share=st.integers(1, 4), commands_max=st.integers(4, 30))
    def make(self, share, commands_max):
        self.inbox = inbox_of(commands_max, share)
        self.share, self.commands_max = share, commands_max
        self.books = Books(1, 2, 3)
        self.waiting = []
        self.dropped = Counter()

    # Session 9 is a stranger.
    @rule(sent=st.lists(st.tuples(st.sampled_from((1, 2, 3, 9)), st.integers(1, 25)), min_size=1, max_size=12))
    def arrive(self, sent):
        fits = len(self.waiting) + len(sent) <= self.commands_max
        assert self.inbox.offer(batch(SHAPES, [order(*s) for s in sent])) == fits
        if fits:
            self.waiting += sent
        else:
            self.dropped["inbox_full"] += len(sent)
        assert self.inbox.depth == len(self.waiting)

    @rule()
    def tick(self):
        applied = self.books.applied
        known = [s for s in self.waiting if s[0] in applied]
        fresh = sorted({s for s in known if s[1] > applied[s[0]]})
        now, later = [], []
        for session in (1, 2, 3):
            mine = [s for s in fresh if s[0] == session]
            now += mine[: self.share]
            later += mine[self.share :]
        self.dropped["unknown_session"] += len(self.waiting) - len(known)
        self.dropped["duplicate"] += len(known) - len(fresh)
        batches = {}
        for session, seq in now:
            name, *record = order(session, seq)
            batches.setdefault(name, []).append(tuple(record))
        if "move" in batches:
            batches["move"] = list({record[0]: record for record in batches["move"]}.values())
        taken = self.books.take(self.inbox)
        assert {SHAPES[k].name: v for k, v in taken_orders(taken).items()} == batches
        assert taken.processed.tolist() == [(s, max(q for t, q in now if t == s)) for s in sorted({s for s, _ in now})]
        self.waiting = later
        assert self.inbox.depth == len(later)
        assert +self.inbox.dropped == +self.dropped


Model.TestCase.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
TestModel = Model.TestCase


def test_a_reliable_command_that_was_applied_and_comes_again_is_told_of_and_no_other_is():
    inbox, books = inbox_of(), Books(1, 2)
    # Of session 1: move, buy, say, move, buy; of session 2: buy under 3 and 6.
    first = [order(1, q) for q in range(1, 6)] + [order(2, 3)]
    inbox.offer(batch(SHAPES, first))
    books.take(inbox)
    assert not inbox.repeated.size
    bought = [(s, q) for name, s, q, _ in first if name == "buy"]
    # Twice within one tick, and one that is new, and one of a stranger: they are told of as ever, or not at all.
    inbox.offer(batch(SHAPES, [*first, order(1, 6), order(1, 7), order(1, 7), order(9, 3)]))
    books.take(inbox)
    assert inbox.repeated.tolist() == bought
    books.take(inbox)
    assert not inbox.repeated.size


def test_who_waits_to_be_let_in_is_known_until_the_tick_that_does_so():
    inbox = inbox_of()
    inbox.offer(batch(SHAPES, [("join", 7, 0, b"ada", b"Ada"), ("join", 8, 0, b"", b"Nobody"), ("leave", 9, 0)]))
    assert inbox.joins(7, b"")
    assert inbox.joins(0, b"ada")
    assert not inbox.joins(9, b"")
    assert not inbox.joins(0, b"bob")
    inbox.take(Books().high_water)
    assert not inbox.joins(7, b"ada")


def chained(before, *orders):
    """A batch of one session, as a gateway sends it: with the number of what it sent before."""
    return batch(SHAPES, [("chain", orders[0][1], orders[0][2], before), *orders])


def test_a_command_whose_predecessor_is_missing_waits_to_be_sent_again_with_it():
    inbox, books = inbox_of(), Books(1)
    inbox.offer(chained(0, order(1, 1), order(1, 2)))
    books.take(inbox)
    # 3 and 4 are lost on their way.
    inbox.offer(chained(4, order(1, 5), order(1, 6)))
    taken = books.take(inbox)
    assert (taken.empty, inbox.dropped["out_of_order"], books.applied) == (True, 2, {1: 2})
    # Another batch that follows the one which was dropped is no better.
    inbox.offer(chained(6, order(1, 7)))
    assert books.take(inbox).empty
    # All of it again, from what is not acknowledged.
    inbox.offer(chained(0, *(order(1, q) for q in range(3, 8))))
    books.take(inbox)
    assert books.applied == {1: 7}


def test_batches_of_one_tick_follow_each_other_and_may_come_in_any_order():
    for seed in range(50):
        inbox, books, draw = inbox_of(share=5), Books(1, 2), random.Random(seed)
        batches = [chained(max(0, q - 1), order(s, q), order(s, q + 1)) for s in (1, 2) for q in (1, 3, 5, 7)]
        draw.shuffle(batches)
        for data in batches:
            inbox.offer(data)
        first, second = books.take(inbox), books.take(inbox)
        assert books.applied == {1: 8, 2: 8}, seed
        assert not inbox.dropped["out_of_order"]
        assert CHAIN not in {*first.batches, *second.batches}


@given(st.lists(st.sets(st.integers(0, 5)), max_size=40), st.integers(0, 2**32))
def test_whatever_batches_are_lost_all_below_the_last_number_applied_was_applied(lost, seed):
    """Six players whose entities are here or elsewhere; a gateway that sends again what it has no answer to."""
    draw, inbox, books = random.Random(seed), inbox_of(share=3), Books(*range(6))
    done = {s: [] for s in range(6)}
    sent = {s: [] for s in range(6)}
    unacked = {s: [] for s in range(6)}
    before = dict.fromkeys(range(6), 0)
    for without in [*lost, *[set()] * 30]:
        for s in range(6):
            new = []
            if draw.random() < 0.7:
                new = [max(sent[s], default=0) + draw.randint(1, 3)]
                sent[s] += new
                unacked[s] += new
            if unacked[s] and (draw.random() < 0.3 or not without):
                new, before[s] = list(unacked[s]), 0
            if new:
                if s not in without:
                    inbox.offer(chained(before[s], *(("buy", s, q, q % 250) for q in new)))
                before[s] = new[-1]
        # Elsewhere for this tick: what comes for it meanwhile is nobody's.
        away = {s for s in range(6) if draw.random() < 0.2 and without}
        books_here = Books(*(s for s in range(6) if s not in away))
        books_here.applied = {s: q for s, q in books.applied.items() if s not in away}
        taken = inbox.take(books_here.high_water)
        books.applied.update(taken.processed.tolist())
        for s, q, _ in taken.batches.get(BUY.id, np.zeros(0, BUY.dtype)).tolist():
            done[s].append(q)
        for s in range(6):
            unacked[s] = [q for q in unacked[s] if q > books.applied[s]]
    for s in range(6):
        assert done[s] == [q for q in sent[s] if q <= books.applied[s]]
        assert books.applied[s] > 0 or not sent[s]
