"""Batches from a gateway to a shard: in order, without a gap, whatever the bus and the host do."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.shard.errors import BatchError
from server.shard.uplink import AHEAD_MAX, UNKNOWN, Answer, Incoming, Outgoing, Packet


def test_packets_and_answers_are_read_as_they_were_written():
    for packet in (Packet(2**63, 1, 2, 500, b"x"), Packet(5, 3, 1, 2**40, None)):
        assert Packet.decode(packet.encode()) == packet
    answer = Answer(7, 1, UNKNOWN, 100, 3)
    assert Answer.decode(answer.encode()) == answer


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x01", b"\x90", b"\x94\x01\x01\x01\x01", b"\x94\x01\x01\xc3\xc0", b"\x94\x01\x01\xc0\xc0"]
)
def test_what_is_no_packet_is_refused(data):
    with pytest.raises(BatchError):
        Packet.decode(data)


class Host:
    """Takes batches in order; forgets everything when it is replaced."""

    def __init__(self, epoch=0):
        self.epoch = epoch
        self.taken = []
        self.incoming = Incoming()
        self.full = False

    def hear(self, data):
        packet = Packet.decode(data)
        batch = self.incoming.hear(packet)
        while batch is not None and not self.full:
            self.taken.append(batch)
            batch = self.incoming.took()
        return self.incoming.answer(1, packet, 10, self.epoch).encode()


@given(st.integers(0, 2**32), st.floats(0, 0.8), st.floats(0, 0.5))
def test_every_batch_is_taken_once_and_in_order_over_a_bus_that_loses_repeats_and_reorders(seed, loss, again):
    random, host, out = Random(seed), Host(), Outgoing(9, window=8)
    # They have met: who hears the second batch first takes the stream for one that it has forgotten.
    sent, air, now_s = [b"0"], [], 0.0
    host.hear(out.send(sent[0], now_s))
    while len(host.taken) < 60:
        now_s += 0.05
        if len(sent) < 60 and not out.full:
            sent.append(b"%d" % len(sent))
            air.append(("to", out.send(sent[-1], now_s)))
        air += [("to", data) for data in out.due(now_s)]
        host.full = random.random() < 0.2
        random.shuffle(air)
        for _ in range(len(air) // 2 + 1):
            if not air:
                break
            way, data = air.pop()
            if random.random() < again:
                air.append((way, data))
            if random.random() < loss:
                continue
            if way == "to":
                air.append(("from", host.hear(data)))
            else:
                assert not out.hear(Answer.decode(data), now_s), "the host never forgot"
        assert now_s < 10_000
    assert host.taken == sent


def test_a_host_that_knows_nothing_of_the_stream_says_so_and_another_stream_begins():
    out, first, second = Outgoing(9), Host(), Host()
    for n in range(3):
        first.hear(out.send(b"%d" % n, 0.0))
    late = out.send(b"3", 0.0)
    reply = Answer.decode(second.hear(late))
    assert reply.received == UNKNOWN
    assert out.hear(reply, 0.1)
    assert not out.hear(reply, 0.1), "the answer to the old stream came twice"
    second.hear(out.send(b"again", 0.2))
    # A straggler of the old stream does nothing.
    assert Answer.decode(second.hear(late)).received == UNKNOWN
    assert not out.hear(Answer.decode(second.hear(late)), 0.3)
    assert (first.taken, second.taken) == ([b"0", b"1", b"2"], [b"again"])


def test_who_has_nothing_to_send_says_that_it_is_there_and_hears_of_a_new_host_so():
    out, host = Outgoing(9, silence_s=0.5), Host()
    [here] = out.due(0.0)
    assert Answer.decode(host.hear(here)).received == 0
    assert out.due(0.4) == []
    assert len(out.due(0.5)) == 1
    host.hear(out.send(b"0", 1.0))
    out.hear(Answer(1, 1, 1, 10), 1.0)
    assert out.due(1.4) == []
    [here] = out.due(1.5)
    assert Packet.decode(here) == Packet(9, 1, 2, 1500, None)
    assert out.hear(Answer.decode(Host().hear(here)), 1.6)


def test_a_packet_says_when_it_was_sent_and_not_when_what_it_brings_was_said():
    out = Outgoing(9)
    first = out.send(b"0", 2.0)
    [again] = out.due(3.5)
    assert [Packet.decode(data).sent_ms for data in (first, again)] == [2000, 3500]


def test_repetitions_wait_for_longer_each_time_until_something_arrives():
    out = Outgoing(9, retry_s=0.125, retry_most_s=0.5)
    out.send(b"0", 0.0)
    out.send(b"1", 0.0)
    said = [t / 64 for t in range(128) if out.due(t / 64)]
    assert said == [0.125, 0.375, 0.875, 1.375, 1.875]
    out.hear(Answer(1, 1, 1, 10), 2.0)
    assert [len(out.due(t)) for t in (2.0625, 2.125)] == [0, 1]


def test_what_comes_too_early_is_kept_up_to_a_bound():
    host, out = Host(), Outgoing(9, window=1000)
    packets = [out.send(b"%d" % n, 0.0) for n in range(AHEAD_MAX + 10)]
    host.hear(packets[0])
    for data in packets[2:]:
        host.hear(data)
    assert len(host.incoming.ahead) == AHEAD_MAX
    host.hear(packets[1])
    assert len(host.taken) == AHEAD_MAX + 2
    assert not host.incoming.ahead
    for data in out.due(10.0):
        host.hear(data)
    assert host.taken == [b"%d" % n for n in range(AHEAD_MAX + 10)]


def test_what_an_owner_received_that_is_none_any_more_is_said_to_the_next_one():
    out, stale, new = Outgoing(9), Host(epoch=1), Host(epoch=2)
    now_s = 0.0
    kept = []

    def say(data, hosts):
        for host in hosts:
            if out.hear(Answer.decode(host.hear(data)), now_s):
                # As a gateway does that keeps what is not known to be applied.
                for batch in kept:
                    say(out.send(batch, now_s), hosts)

    for n in range(12):
        kept.append(b"%d" % n)
        # The new owner begins with the fourth. Two that were meant for both it misses, and the other one hears them.
        say(out.send(kept[-1], now_s), [stale] if n < 3 or n in (5, 6) else [stale, new])
        now_s += 0.05
    for _ in range(40):
        now_s += 0.05
        for data in out.due(now_s):
            say(data, [new])
    assert new.taken[-len(kept) :] == kept


def test_an_owner_of_before_is_listened_to_once_the_newer_one_is_silent():
    out = Outgoing(9)
    out.send(b"0", 0.0)
    assert not out.hear(Answer(1, 1, 1, 10, epoch=7), 0.0)
    assert not out.hear(Answer(1, 1, UNKNOWN, 10, epoch=3), 4.0), "it is another's by now"
    assert out.hear(Answer(1, 1, UNKNOWN, 10, epoch=3), 6.0), "the world was set back"
    assert not out.hear(Answer(1, 2, 0, 10, epoch=3), 6.1)
