"""Who may ask as an operator, and how it is answered."""

from http import HTTPStatus

import orjson
import pytest

from server.api.operators import Refused, answered, numbers, reply

TOKEN = "t" * 32


def act(action, options):
    if action == "no":
        raise Refused(HTTPStatus.NOT_FOUND, "there is none")
    return reply(HTTPStatus.OK, orjson.dumps([action, options]))


def get(path, authorization=f"Bearer {TOKEN}", token=TOKEN):
    return answered(token, "/prefix/", path, authorization, act)


def test_an_operator_is_answered():
    answer = get("/prefix/yes?n=1&n=2")
    assert (answer.status, orjson.loads(answer.body)) == (HTTPStatus.OK, ["yes", {"n": ["1", "2"]}])
    assert answer.headers["Cache-Control"] == "no-store"
    assert get("/prefix/yes", f"bearer  {TOKEN} ").status is HTTPStatus.OK


def test_a_refusal_says_why():
    answer = get("/prefix/no")
    assert (answer.status, orjson.loads(answer.body)) == (HTTPStatus.NOT_FOUND, {"error": "there is none"})


@pytest.mark.parametrize("authorization", [None, "", TOKEN, "Bearer", "Bearer é", f"Basic {TOKEN}", f"Bearer {TOKEN}x"])
def test_without_the_token_nobody_is(authorization):
    answer = get("/prefix/yes", authorization)
    assert answer.status is HTTPStatus.UNAUTHORIZED
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("authorization", [None, "Bearer ", "Bearer x"])
def test_where_no_token_is_set_nobody_is(authorization):
    assert get("/prefix/yes", authorization, token="").status is HTTPStatus.FORBIDDEN


def test_numbers_are_numbers():
    assert numbers(["3", "1", "3"], "n") == [1, 3]
    for wrong in ("-1", "x", "1.0", "", "²", "99999999999"):
        with pytest.raises(Refused, match="n is a number"):
            numbers([wrong], "n")
