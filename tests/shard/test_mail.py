"""A shard's mail: streams without gaps, bounded, part of the state to the last byte."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from server.shard import mail
from server.shard.errors import CaptureRefused, MailError
from server.shard.mail import ACK, FIRST_MAIL, HANDOFF, NO_ACKS, REFUSAL, Lane, Letter, Post, letter_of, unwrap_refusal
from tests.support.captures import damaged, frozen

HERE, THERE = 3, 70_000
LANES = st.sampled_from(list(Lane))


def acks(*records):
    return np.array(list(records), ACK)


def adopted(post):
    other = Post(post.shard)
    other.adopt(post.capture())
    return other


def used():
    """A post with something of everything."""
    post = Post(HERE)
    post.take(1, [], NO_ACKS)
    for n in range(4):
        assert post.send(THERE, Lane.NORMAL, FIRST_MAIL, b"hello %d" % n)
    assert post.send(HERE, Lane.URGENT, HANDOFF, b"")
    post.take(2, [Letter(THERE, HERE, Lane.BULK, 1, 99, 8, b"what?")], acks((THERE, Lane.NORMAL, 2)))
    post.refuse(Letter(THERE, HERE, Lane.BULK, 1, 99, 8, b"what?"), "not known here")
    post.bury(Letter(HERE, THERE, Lane.NORMAL, 1, FIRST_MAIL, 1, b"hello 0"), "nobody là")
    return post


def test_letters_are_numbered_within_their_stream_and_leave_with_their_tick():
    post = Post(HERE)
    post.take(7, [], NO_ACKS)
    for destination, lane in ((THERE, Lane.NORMAL), (THERE, Lane.URGENT), (HERE, Lane.NORMAL), (THERE, Lane.NORMAL)):
        assert post.send(destination, lane, FIRST_MAIL, b"x")
    assert [letter[1:4] for letter in post.posted] == [(THERE, 1, 1), (THERE, 0, 1), (HERE, 1, 1), (THERE, 1, 2)]
    assert {letter.tick for letter in post.posted} == {7}
    post.take(8, [], NO_ACKS)
    assert post.posted == ()
    assert len(post.unacked()) == 4


def test_what_is_acknowledged_is_forgotten_and_nothing_else():
    post = Post(HERE)
    for n in range(5):
        post.send(THERE, Lane.NORMAL, FIRST_MAIL, b"%d" % n)
        post.send(THERE, Lane.BULK, FIRST_MAIL, b"%d" % n)
    post.take(1, [], acks((THERE, Lane.NORMAL, 3), (99, Lane.NORMAL, 5)))
    assert [(x.lane, x.seq) for x in post.unacked()] == [(1, 4), (1, 5), (2, 1), (2, 2), (2, 3), (2, 4), (2, 5)]
    post.take(2, [], acks((THERE, Lane.NORMAL, 2)))
    assert len(post.unacked()) == 7
    post.take(3, [], acks((THERE, Lane.NORMAL, 5), (THERE, Lane.BULK, 5)))
    assert post.unacked() == []
    post.send(THERE, Lane.NORMAL, FIRST_MAIL, b"")
    assert post.posted[-1].seq == 6


@pytest.mark.parametrize("seq", [1, 3])
def test_a_letter_that_is_not_the_next_of_its_stream_is_a_bug(seq):
    post = Post(HERE)
    post.take(1, [Letter(THERE, HERE, 1, 1, FIRST_MAIL, 1, b"")], NO_ACKS)
    with pytest.raises(AssertionError):
        post.take(2, [Letter(THERE, HERE, 1, seq, FIRST_MAIL, 1, b"")], NO_ACKS)


def test_a_full_stream_says_no_and_holds_up_no_other(monkeypatch):
    monkeypatch.setattr(mail, "STREAM_LETTERS_MAX", 3)
    monkeypatch.setattr(mail, "STREAM_BYTES_MAX", 100)
    post = Post(HERE)
    assert [post.send(THERE, Lane.BULK, FIRST_MAIL, b"") for _ in range(4)] == [True, True, True, False]
    assert post.send(THERE, Lane.NORMAL, FIRST_MAIL, b"x" * 60)
    assert not post.send(THERE, Lane.NORMAL, FIRST_MAIL, b"x" * 60)
    assert post.send(HERE, Lane.BULK, FIRST_MAIL, b"")
    assert post.unsent == 2
    # A refusal is sent all the same, or what it brings back would be lost.
    post.refuse(Letter(THERE, HERE, Lane.BULK, 1, FIRST_MAIL, 1, b""), "no")
    assert post.sent()[THERE, Lane.BULK] == 4
    post.take(1, [], acks((THERE, Lane.BULK, 4), (THERE, Lane.NORMAL, 1)))
    assert post.send(THERE, Lane.BULK, FIRST_MAIL, b"")
    assert post.send(THERE, Lane.NORMAL, FIRST_MAIL, b"x" * 60)


def test_a_refusal_brings_the_letter_back_as_it_was_sent():
    sender, receiver = Post(HERE), Post(THERE)
    sender.take(4, [], NO_ACKS)
    sender.send(THERE, Lane.BULK, 40, b"cargo")
    (letter,) = sender.posted
    receiver.take(9, [letter], NO_ACKS)
    receiver.refuse(letter, "no room: " + "é" * 500)
    (refusal,) = receiver.posted
    assert (refusal.kind, refusal.destination, refusal.lane) == (REFUSAL, HERE, Lane.BULK)
    back, reason = unwrap_refusal(refusal)
    assert back == letter
    assert reason.startswith("no room: éé")
    assert len(reason.encode()) <= mail.REASON_BYTES_MAX


def test_a_refusal_is_never_refused():
    post = Post(HERE)
    letter = Letter(THERE, HERE, 1, 1, REFUSAL, 1, b"rubbish")
    with pytest.raises(MailError):
        unwrap_refusal(letter)
    post.take(1, [letter], NO_ACKS)
    post.refuse(letter, "not readable")
    assert post.posted == ()
    assert [(d.letter, d.reason) for d in post.dead] == [(letter, "not readable")]
    post.replay(1)
    assert len(post.dead) == 1, "it is not ours to send"


def test_dead_letters_are_sent_again_or_dropped_by_their_number():
    post = Post(HERE)
    letters = [Letter(HERE, THERE, Lane.BULK, n, FIRST_MAIL, 1, b"%d" % n) for n in (1, 2, 3)]
    for letter in letters:
        post.bury(letter, "no")
    post.replay(2)
    post.drop(3)
    post.replay(2)
    post.drop(77)
    assert [d.number for d in post.dead] == [1]
    assert [x[1:] for x in post.posted] == [(THERE, Lane.BULK, 1, FIRST_MAIL, 0, b"2")]
    post.drop(1)
    post.bury(letters[0], "again")
    assert [d.number for d in post.dead] == [4], "no number is given twice"


def test_the_oldest_dead_letters_go_when_there_are_too_many(monkeypatch):
    monkeypatch.setattr(mail, "DEAD_LETTERS_MAX", 3)
    monkeypatch.setattr(mail, "DEAD_BYTES_MAX", 3000)
    post = Post(HERE)
    for n in range(1, 6):
        post.bury(Letter(HERE, THERE, 1, n, FIRST_MAIL, 1, b""), "no")
    assert ([d.number for d in post.dead], post.dead_dropped) == ([3, 4, 5], 2)
    post.bury(Letter(HERE, THERE, 1, 6, FIRST_MAIL, 1, b"x" * 2500), "no")
    assert [d.number for d in post.dead] == [5, 6]
    post.bury(Letter(HERE, THERE, 1, 7, FIRST_MAIL, 1, b"x" * 5000), "no")
    assert [d.number for d in post.dead] == [7], "the last one is kept, however large"
    post.drop(7)
    for n in range(8, 11):
        post.bury(Letter(HERE, THERE, 1, n, FIRST_MAIL, 1, b""), "no")
    assert len(post.dead) == 3


# -- state -----------------------------------------------------------------------


def test_a_shard_that_never_had_mail_has_no_state_of_it():
    post = Post(HERE)
    post.take(5, [], NO_ACKS)
    assert post.capture() == {}
    assert post.digest(12345) == 12345


def test_a_captured_post_is_another_to_the_last_byte():
    post = used()
    other = adopted(post)
    assert frozen(other.capture()) == frozen(post.capture())
    assert other.digest() == post.digest()
    assert (other.unacked(), other.received(), other.dead) == (post.unacked(), post.received(), post.dead)
    for one in (post, other):
        one.take(3, [], acks((THERE, Lane.NORMAL, 3)))
        one.send(THERE, Lane.NORMAL, FIRST_MAIL, b"more")
        one.replay(1)
    assert other.posted == post.posted
    assert other.digest() == post.digest()


def test_a_capture_stays_as_it_was_when_the_post_goes_on():
    post = used()
    taken = post.capture()
    before = frozen(taken)
    post.take(3, [], acks((THERE, Lane.NORMAL, 4)))
    post.send(THERE, Lane.NORMAL, FIRST_MAIL, b"more")
    assert frozen(taken) == before


def test_adopting_what_has_no_mail_begins_anew_and_passes_over_what_is_not_mail():
    post = used()
    post.adopt({"@world": np.zeros(2, np.uint64)})
    assert post.capture() == {}


@pytest.mark.parametrize(("what", "arrays"), damaged(used().capture())[:-1])
def test_damaged_captures_are_refused_and_change_nothing(what, arrays):
    post = used()
    with pytest.raises(CaptureRefused):
        post.adopt(arrays)
    assert frozen(post.capture()) == frozen(used().capture()), what


def test_a_capture_with_a_gap_or_an_impossible_letter_is_refused():
    for name, row, column, value in (
        ("@mail.unacked", 1, 3, 9),
        ("@mail.unacked", 0, 2, 7),
        ("@mail.sent", 0, 2, 0),
        ("@mail.dead", 0, 3, 0),
    ):
        arrays = used().capture()
        arrays[name][row, column] = value
        with pytest.raises(CaptureRefused):
            Post(HERE).adopt(arrays)


def test_every_bit_of_the_state_counts_in_the_digest():
    seen = {used().digest(), used().digest(1)}
    for name, array in used().capture().items():
        for at in range(array.size):
            arrays = used().capture()
            arrays[name].reshape(-1)[at] ^= array.dtype.type(1)
            try:
                other = Post(HERE)
                other.adopt(arrays)
            except CaptureRefused:
                continue
            seen_before = len(seen)
            seen.add(other.digest())
            assert len(seen) == seen_before + 1, (name, at)
    assert len(seen) > 30


@given(st.lists(st.tuples(LANES, st.binary(max_size=20)), max_size=30), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_streams_are_in_order_and_complete_whatever_is_taken_when(sent, rng):
    sender, receiver = Post(HERE), Post(THERE)
    got, tick = [], 0
    for lane, payload in sent:
        assert sender.send(THERE, lane, FIRST_MAIL, payload)
    while unacked := sender.unacked():
        tick += 1
        taken = receiver.received()
        now = [x for x in unacked if x.seq == taken.get((HERE, x.lane), 0) + 1 and rng.random() < 0.6]
        receiver.take(tick, now, NO_ACKS)
        got += [(x.lane, x.payload) for x in now]
        sender = adopted(sender) if rng.random() < 0.2 else sender
        receiver = adopted(receiver) if rng.random() < 0.2 else receiver
        if rng.random() < 0.5:
            high = [(THERE, lane, seq) for (_, lane), seq in sorted(receiver.received().items())]
            sender.take(tick, [], acks(*high))
    for lane in Lane:
        assert [p for at, p in got if at == lane] == [p for at, p in sent if at == lane]


class PostMachine(RuleBasedStateMachine):
    """Against plain lists; after every step a capture is the same post."""

    def __init__(self):
        super().__init__()
        self.post, self.tick = Post(HERE), 0
        self.unacked, self.numbers, self.received = {}, {}, {}

    @rule(lane=LANES, to=st.sampled_from([HERE, THERE, 9]), payload=st.binary(max_size=9))
    def send(self, lane, to, payload):
        assert self.post.send(to, lane, FIRST_MAIL, payload)
        seq = self.numbers[to, lane] = self.numbers.get((to, lane), 0) + 1
        self.unacked.setdefault((to, lane), []).append((seq, payload))

    @rule(data=st.data(), n=st.integers(0, 3))
    def take(self, data, n):
        self.tick += 1
        stream = (9, data.draw(LANES))
        first = self.received.get(stream, 0) + 1
        letters = [Letter(9, HERE, stream[1], first + k, FIRST_MAIL, 0, b"") for k in range(n)]
        if n:
            self.received[stream] = first + n - 1
        done = []
        for (to, lane), letters_of in sorted(self.unacked.items()):
            upto = data.draw(st.integers(0, letters_of[-1][0])) if letters_of else 0
            done.append((to, lane, upto))
            self.unacked[to, lane] = [x for x in letters_of if x[0] > upto]
        self.post.take(self.tick, letters, acks(*done))

    @invariant()
    def same(self):
        expected = [(*s, *x) for s in sorted(self.unacked) for x in self.unacked[s]]
        for post in (self.post, adopted(self.post)):
            assert [(x.destination, x.lane, x.seq, x.payload) for x in post.unacked()] == expected
            assert post.received() == self.received
            assert post.digest() == self.post.digest()


TestPost = PostMachine.TestCase
TestPost.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)


# -- letters as bytes ------------------------------------------------------------


def test_what_is_no_letter_is_refused():
    good = [3, 4, 1, 1, 16, 0, b""]
    assert letter_of(good) == Letter(*good)
    rng = random.Random(1)
    for at in range(7):
        for bad in (-1, True, 1.0, None, "x", 2**64, []):
            parts = [*good]
            parts[at] = bad
            with pytest.raises(MailError):
                letter_of(parts)
    for bad in (good[:-1], [*good, 1], tuple(good), None, rng.randbytes(7), [3, 4, 3, 1, 16, 0, b""]):
        with pytest.raises(MailError):
            letter_of(bad)
    for at in (3, 4):
        with pytest.raises(MailError):
            letter_of([*good[:at], 0, *good[at + 1 :]])
