"""Time travel over HTTP: who may, what is asked of the program, and what becomes of a program that misbehaves."""

from __future__ import annotations

import json
import sys
from http import HTTPStatus
from pathlib import Path

import pytest

from server.api import travel
from server.api.travel import PIECE_BYTES, Travel, TravelOptions, Worker

TOKEN = "t" * 32
BEARER = f"Bearer {TOKEN}"
OPTIONS = TravelOptions(token=TOKEN, ticks_max=100, bytes_max=5000, memory_bytes_max=2**30, timeout_s=50.0)
STRETCH = "/travel/stretch?shard=1&from=5&to=9"

# Stands for `everstep`: does what its last option says, with the words it was given.
PROGRAM = """
import json, pathlib, sys, time
*words, does = sys.argv[1:]
match does:
    case "tell":
        print(json.dumps(words), end="")
    case "much":
        sys.stdout.write("x" * 2_500_000)
    case "refuse":
        print("half", end="", flush=True)
        sys.exit("noise\\neverstep: no way back")
    case "fall":
        sys.exit(7)
    case "hang":
        print("begun", end="", flush=True)
        time.sleep(1000)
"""


class Clock:
    def __init__(self):
        self.s = 0.0

    def __call__(self):
        return self.s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def make(tmp_path, clock):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    made = []

    def new(does="tell", options=OPTIONS):
        made.append(Travel(Worker([sys.executable, str(script)], [does]), options, clock))
        return made[-1]

    yield new
    for past in made:
        past.close()


async def ask(past, target=STRETCH, at=0, authorization=BEARER):
    reply = await past.get(f"{target}{'&' if '?' in target else '?'}at={at}", authorization)
    error = json.loads(reply.body)["error"] if reply.status is not HTTPStatus.OK else None
    return reply, error


async def whole(past, target=STRETCH, clock=None):
    """All it writes; where it fails, the reply that says so."""
    data = b""
    while True:
        reply, error = await ask(past, target, len(data))
        data += reply.body if error is None else b""
        if error is not None or reply.headers["Everstep-State"] == "done":
            return data, reply, error
        assert len(reply.body) <= PIECE_BYTES
        if clock is not None and not reply.body:
            clock.s += 0.001


# -- who may -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer ü", f"{BEARER} {TOKEN}"],
)
async def test_without_the_token_nothing_is_begun(make, authorization):
    past = make()
    reply, error = await ask(past, authorization=authorization)
    assert reply.status is HTTPStatus.UNAUTHORIZED
    assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert "operator.token" in error
    assert past._work is None


@pytest.mark.parametrize("authorization", [None, "Bearer", "Bearer ", BEARER])
async def test_without_a_token_in_the_settings_it_is_off_for_all(make, authorization):
    past = make(options=TravelOptions("", 100, 5000, 2**30, 50.0))
    reply, error = await ask(past, authorization=authorization)
    assert reply.status is HTTPStatus.FORBIDDEN
    assert "off here" in error


async def test_a_world_that_keeps_nothing_has_no_past(clock):
    reply, error = await ask(Travel(None, OPTIONS, clock))
    assert reply.status is HTTPStatus.CONFLICT
    assert "keeps nothing" in error


# -- what is asked -----------------------------------------------------------------


async def test_the_program_is_told_what_was_asked(make):
    data, reply, _ = await whole(make())
    limits = ["--bytes-max", "5000", "--memory-bytes-max", str(2**30)]
    words = ["stretch", "-", "--from", "5", "--to", "9", "--shard", "1", *limits]
    assert json.loads(data) == words
    assert reply.headers["Cache-Control"] == "no-store"
    data, *_ = await whole(make(), STRETCH + "&x=-1.5&y=2&reach=30")
    assert json.loads(data) == [*words, "--window", "-1.5", "2.0", "30.0"]
    data, *_ = await whole(make(), "/travel/reach")
    assert json.loads(data) == ["inspect", "reach"]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/travel/", HTTPStatus.NOT_FOUND),
        ("/travel/other", HTTPStatus.NOT_FOUND),
        ("/travel/stretch", HTTPStatus.BAD_REQUEST),
        ("/travel/stretch?shard=1&from=5", HTTPStatus.BAD_REQUEST),
        ("/travel/stretch?from=5&to=9", HTTPStatus.BAD_REQUEST),
        ("/travel/stretch?shard=1&from=9&to=5", HTTPStatus.BAD_REQUEST),
        ("/travel/stretch?shard=1&from=0&to=100", HTTPStatus.BAD_REQUEST),
        ("/travel/stretch?shard=1&from=-1&to=5", HTTPStatus.BAD_REQUEST),
        ("/travel/stretch?shard=--help&from=1&to=5", HTTPStatus.BAD_REQUEST),
        ("/travel/stretch?shard=1&from=1&to=%2B5", HTTPStatus.BAD_REQUEST),
        ("/travel/stretch?shard=1&from=1&to=" + "9" * 20, HTTPStatus.BAD_REQUEST),
        ("/travel/stretch?shard=1&from=1&to=\u0665", HTTPStatus.BAD_REQUEST),
        (STRETCH + "&x=1", HTTPStatus.BAD_REQUEST),
        (STRETCH + "&x=nan&y=1&reach=1", HTTPStatus.BAD_REQUEST),
        (STRETCH + "&x=inf&y=1&reach=1", HTTPStatus.BAD_REQUEST),
        (STRETCH + "&x=--data&y=1&reach=1", HTTPStatus.BAD_REQUEST),
    ],
)
async def test_what_makes_no_sense_is_refused_before_anything_runs(make, target, status):
    past = make()
    reply, error = await ask(past, target)
    assert reply.status is status
    assert error
    assert past._work is None


@pytest.mark.parametrize("at", [-1, "x", "", "1.5"])
async def test_a_place_is_a_number_of_bytes(make, at):
    reply, _ = await ask(make(), at=at)
    assert reply.status is HTTPStatus.BAD_REQUEST


# -- what becomes of it --------------------------------------------------------------


async def test_much_comes_in_pieces(make):
    data, _, error = await whole(make("much"))
    assert (len(data), error) == (2_500_000, None)


async def test_what_it_wrote_comes_before_its_refusal(make):
    data, reply, error = await whole(make("refuse"))
    assert data == b"half"
    assert (reply.status, error) == (HTTPStatus.CONFLICT, "no way back")


async def test_a_program_that_falls_is_told_from_one_that_refuses(make):
    _, reply, error = await whole(make("fall"))
    assert reply.status is HTTPStatus.SERVICE_UNAVAILABLE
    assert "ended with 7" in error


async def test_a_program_that_is_not_there_is_told(clock):
    past = Travel(Worker(["/nowhere/everstep"], []), OPTIONS, clock)
    reply, error = await ask(past)
    assert reply.status is HTTPStatus.SERVICE_UNAVAILABLE
    assert "can't be begun" in error
    past.close()


async def begun(past):
    """A program that has written and hangs; its process."""
    while not (await ask(past))[0].body:
        pass
    return past._work._process


async def ended(past):
    """What the program ended with, once it has."""
    await past._work._watch
    return past._work._process.returncode


async def test_another_question_waits_until_the_first_is_answered(make, clock):
    past = make("hang")
    await begun(past)
    reply, error = await ask(past, STRETCH.replace("to=9", "to=8"))
    assert reply.status is HTTPStatus.TOO_MANY_REQUESTS
    assert "another stretch" in error
    # The same question is the same work.
    assert (await ask(past, at=2))[0].body == b"gun"


async def test_what_takes_too_long_is_ended(make, clock):
    past = make("hang", TravelOptions(TOKEN, 100, 5000, 2**30, 2.0))
    await begun(past)
    clock.s = 2.5
    assert await ended(past) == -9
    _, reply, error = await whole(past)
    assert reply.status is HTTPStatus.SERVICE_UNAVAILABLE
    assert "longer than 2 s" in error


async def test_what_nobody_asks_for_is_ended_and_makes_room(make, clock):
    past = make("hang")
    process = await begun(past)
    clock.s = travel._FORGOTTEN_S + 0.1
    assert await ended(past) == -9
    # Another's question is taken up.
    reply, _ = await ask(past, STRETCH.replace("to=9", "to=8"))
    assert reply.status is HTTPStatus.OK
    assert past._work._process is not process


async def test_it_ends_with_the_server(make):
    past = make("hang")
    process = await begun(past)
    past.close()
    assert process.returncode == -9


async def test_an_answer_that_is_gone_is_not_mixed_with_another(make):
    past = make("tell")
    reply, error = await ask(past, at=5)
    assert reply.status is HTTPStatus.CONFLICT
    assert "from its beginning" in error


async def test_read_to_its_end_it_is_made_anew(make, tmp_path):
    past = make("tell")
    await whole(past)
    work = past._work
    await whole(past)
    assert past._work is not work


def test_the_page_that_asks_is_there(root: Path):
    page = (root / "web" / "travel.js").read_text()
    assert f"{travel.PREFIX}${{path}}" in page
    assert "Everstep-State" in page
