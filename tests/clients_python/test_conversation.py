"""A session without a socket: what is sent, and what is made of the answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clients.python import BacklogFull
from clients.python.conversation import UNHEARD_INPUTS_MAX, Conversation
from protocol import codec
from protocol.errors import ErrorCode, InvalidArgument, MalformedMessage, UnknownMessage
from protocol.messages import Hello, Input, ViewDigest, You
from protocol.schema import Argument
from tests.protocol.meadow import EXAMPLES, WELCOME


def sent(talk: Conversation) -> list[object]:
    """What waits to be written, taken away."""
    messages: list[object] = [codec.decode_client(frame) for frame in talk.outbox]
    talk.outbox.clear()
    return messages


@pytest.fixture
def talk() -> Conversation:
    """Joined, HELLO written."""
    made = Conversation("Ada", None, None, inputs_max=4)
    made.begin()
    assert sent(made) == [Hello(1, None, None, "Ada")]
    made.receive(EXAMPLES["WELCOME"], 0.0)
    made.receive(EXAMPLES["KEYFRAME"], 0.0)
    return made


def test_commands_are_numbered_and_sent(talk: Conversation) -> None:
    assert talk.command("Move", {"dx": 0.5, "dy": -1}) == 1
    assert talk.command("Say", {"text": "hé"}) == 2
    assert sent(talk) == [Input(1, 16, [0.5, -1]), Input(2, 17, ["hé"])]


@pytest.mark.parametrize(
    ("name", "args", "error"),
    [
        ("Fly", {}, UnknownMessage),
        ("Move", {"dx": 1}, InvalidArgument),
        ("Move", {"dx": 1, "dy": 0, "dz": 0}, InvalidArgument),
        ("Move", {"dx": 2, "dy": 0}, InvalidArgument),
        ("Say", {"text": "\ud800"}, InvalidArgument),
        ("Say", {"text": "a\0"}, InvalidArgument),
    ],
)
def test_a_refused_command_takes_no_number(talk: Conversation, name, args, error) -> None:
    with pytest.raises(error):
        talk.command(name, args)
    assert talk.seq == 0
    assert sent(talk) == []


def test_inputs_without_ack_are_bounded(talk: Conversation) -> None:
    for _ in range(4):
        talk.command("Move", {"dx": 0, "dy": 0})
    with pytest.raises(BacklogFull):
        talk.command("Move", {"dx": 0, "dy": 0})
    talk.receive(codec.encode_ack(3), 0.0)
    assert talk.acked == 3
    assert talk.command("Move", {"dx": 0, "dy": 0}) == 5


def test_a_refused_input_waits_no_longer(talk: Conversation) -> None:
    for _ in range(4):
        talk.command("Say", {"text": "a"})
    talk.receive(codec.encode_error(11, "no", 2), 0.0)
    assert talk.command("Say", {"text": "a"}) == 5


def test_a_resumed_session_sends_again_what_has_no_ack(talk: Conversation) -> None:
    for _ in range(3):
        talk.command("Move", {"dx": 0, "dy": 0})
    talk.receive(codec.encode_ack(1), 0.0)
    sent(talk)
    talk.begin()
    # Asked for while the connection is broken: it goes with the rest.
    assert talk.command("Say", {"text": "d"}) == 4
    assert sent(talk) == [Hello(1, None, WELCOME.resume, "Ada")]
    talk.receive(codec.encode_welcome(replace(WELCOME, resumed=True, ack=2, resume="next")), 1.0)
    assert sent(talk) == [Input(3, 16, [0, 0]), Input(4, 17, ["d"])]
    assert talk.command("Say", {"text": "e"}) == 5
    # The old view is gone, and the next break uses the new token.
    assert len(talk.view[1]) == 0
    sent(talk)
    talk.begin()
    assert sent(talk) == [Hello(1, None, "next", "Ada")]


def test_what_is_sent_again_is_what_it_was_by_name(talk: Conversation) -> None:
    talk.command("Move", {"dx": 0, "dy": 1})
    talk.command("Say", {"text": "a"})
    talk.command("Say", {"text": "much"})
    talk.begin()
    sent(talk)
    # The game was upgraded meanwhile: Move is gone, Say has its number and takes less.
    said = replace(WELCOME.schema.commands[1], id=16, args=(Argument("text", "utf8", size=3),))
    upgraded = replace(WELCOME.schema, commands=(said,))
    talk.receive(codec.encode_welcome(replace(WELCOME, resumed=True, schema=upgraded)), 1.0)
    assert sent(talk) == [Input(2, 16, ["a"])]
    # Whoever asked hears of the others, as if the server had refused them.
    assert [(e.code, e.seq) for e in talk.void] == [(ErrorCode.UNKNOWN, 1), (ErrorCode.INVALID_ARGUMENT, 3)]
    assert talk.command("Say", {"text": "b"}) == 4


def test_a_reliable_command_waits_for_its_receipt(talk: Conversation) -> None:
    for text in "abc":
        talk.command("Say", {"text": text})
    talk.command("Move", {"dx": 0, "dy": 0})
    talk.receive(codec.encode_ack(4), 0.0)
    talk.receive(codec.encode_receipt(2), 0.0)
    # The server died, and what had no receipt may have died with it.
    talk.begin()
    sent(talk)
    talk.receive(codec.encode_welcome(replace(WELCOME, resumed=True, ack=2)), 1.0)
    assert sent(talk) == [Input(1, 17, ["a"]), Input(3, 17, ["c"])]
    talk.receive(codec.encode_receipt(1), 0.0)
    talk.receive(codec.encode_error(11, "no", 3), 0.0)
    talk.begin()
    sent(talk)
    talk.receive(codec.encode_welcome(replace(WELCOME, resumed=True, ack=3)), 1.0)
    assert sent(talk) == []


def test_a_failed_resume_begins_a_new_session(talk: Conversation) -> None:
    talk.command("Say", {"text": "lost"})
    talk.begin()
    sent(talk)
    talk.receive(codec.encode_error(10, "too late", None), 0.0)
    assert sent(talk) == [Hello(1, None, None, "Ada")]
    assert talk.void == []
    talk.receive(codec.encode_welcome(replace(WELCOME, session=8)), 0.0)
    assert sent(talk) == []
    assert [(e.code, e.seq) for e in talk.void] == [(ErrorCode.RESUME_FAILED, 1)]
    assert talk.command("Say", {"text": "new"}) == 1


def test_a_session_taken_over_goes_on_above_all_that_may_be_under_way() -> None:
    talk = Conversation(None, None, "token of another", inputs_max=4)
    talk.begin()
    talk.receive(codec.encode_welcome(replace(WELCOME, resumed=True, ack=41)), 0.0)
    assert talk.command("Say", {"text": "a"}) == 41 + UNHEARD_INPUTS_MAX + 1
    # From then on it is its own.
    talk.begin()
    sent(talk)
    talk.receive(codec.encode_welcome(replace(WELCOME, resumed=True, ack=43)), 0.0)
    assert talk.command("Say", {"text": "b"}) == 41 + UNHEARD_INPUTS_MAX + 2


def test_a_session_taken_over_goes_on_above_what_came_to_its_gateway_and_is_not_processed_yet() -> None:
    talk = Conversation(None, None, "token of another", inputs_max=4)
    talk.begin()
    talk.receive(codec.encode_welcome(replace(WELCOME, resumed=True, ack=41, taken=70_000)), 0.0)
    assert talk.command("Say", {"text": "a"}) == 70_000 + UNHEARD_INPUTS_MAX + 1


@pytest.mark.parametrize(("ack", "taken"), [(4, 0), (0, 4), (3, 5)])
def test_what_has_no_receipt_is_void_where_another_client_spoke_meanwhile(
    talk: Conversation, ack: int, taken: int
) -> None:
    talk.command("Say", {"text": "a"})
    talk.command("Say", {"text": "b"})
    talk.receive(codec.encode_receipt(1), 0.0)
    talk.begin()
    talk.command("Move", {"dx": 0, "dy": 0})
    sent(talk)
    talk.receive(codec.encode_welcome(replace(WELCOME, resumed=True, ack=ack, taken=taken)), 0.0)
    # Whether the other one gave 2 and 3, too, is not known.
    assert sent(talk) == []
    assert [(e.code, e.seq) for e in talk.void] == [(ErrorCode.RESUME_FAILED, 2), (ErrorCode.RESUME_FAILED, 3)]
    assert talk.command("Say", {"text": "c"}) == max(ack, taken) + UNHEARD_INPUTS_MAX + 1


def test_what_was_said_in_one_session_is_not_said_in_another_that_is_taken_over(talk: Conversation) -> None:
    talk.command("Say", {"text": "a"})
    talk.begin()
    sent(talk)
    talk.receive(codec.encode_welcome(replace(WELCOME, session=8, resumed=True, ack=5)), 0.0)
    assert sent(talk) == []
    assert talk.command("Say", {"text": "b"}) == 5 + UNHEARD_INPUTS_MAX + 1


def test_a_view_digest_is_compared_with_the_view(talk: Conversation) -> None:
    for title in ("DELTA of movement", "DELTA with everything"):
        talk.receive(EXAMPLES[title], 0.0)
    digest = talk.receive(EXAMPLES["VIEW_DIGEST"], 0.0)
    assert isinstance(digest, ViewDigest)
    assert talk.agrees(digest)
    assert not talk.agrees(replace(digest, crc=digest.crc ^ 1))
    assert not talk.agrees(replace(digest, count=digest.count + 1))
    assert not talk.agrees(replace(digest, region=2))


def test_messages_of_a_later_server_are_passed_over(talk: Conversation) -> None:
    assert talk.receive(b"\x92\x63\x01", 0.0) is None
    assert talk.receive(EXAMPLES["YOU"], 0.0) == You(1, 6)


def test_nothing_but_pong_error_and_bye_comes_before_welcome() -> None:
    talk = Conversation(None, None, None, inputs_max=4)
    talk.begin()
    for title in ("PONG", "ERROR"):
        talk.receive(EXAMPLES[title], 0.0)
    with pytest.raises(MalformedMessage, match="Keyframe before WELCOME"):
        talk.receive(EXAMPLES["KEYFRAME"], 0.0)
    talk.receive(EXAMPLES["BYE"], 0.0)
    assert talk.bye is not None
    assert talk.bye.code == 1001


def test_pongs_set_the_clock(talk: Conversation) -> None:
    talk.receive(EXAMPLES["PONG"], 1.6005)
    assert talk.clock.rtt_s == pytest.approx(0.1)
    assert talk.clock.tick_at(1.6005) == pytest.approx(1281 + 0.25 + 1.0)


def test_the_clock_counts_the_ticks_of_the_region_that_one_is_in() -> None:
    talk = Conversation("Ada", None, None, inputs_max=4)
    talk.begin()
    (west,) = WELCOME.regions
    talk.receive(codec.encode_welcome(replace(WELCOME, regions=(west, replace(west, id=2)))), 0.0)
    talk.receive(EXAMPLES["KEYFRAME"], 0.0)
    talk.receive(codec.encode_pong(0, 1300, 0, 20_000), 0.04)
    assert talk.clock.tick_at(0.04) == pytest.approx(1300.4)
    talk.receive(codec.encode_keyframe(2, 90_000, ()), 1.0)
    talk.receive(codec.encode_you(2, 9), 1.0)
    # As long on its way as the answer before.
    assert talk.clock.tick_at(1.0) == pytest.approx(90_000.4)
    assert talk.clock.rtt_s == pytest.approx(0.04)
    talk.receive(codec.encode_pong(2000, 90_020, 0, 20_000), 2.5)
    assert talk.clock.tick_at(2.5) == pytest.approx(90_025)
