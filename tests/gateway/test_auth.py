"""Who comes in: guests, signed tokens, resume tokens; and every forgery refused with its typed error."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.gateway.auth import Authenticator, Player
from server.gateway.errors import ResumeFailed, ResumeUnsure, Unauthorised

SECRET = "the-secret-of-these-tests-alone-0123456789"
OTHER = "another-secret-of-the-same-length-987654321"
RESUME = "the-resume-secret-of-these-tests-0123456789"
SOON = int(time.time()) + 3600


def authenticator(*, guests: bool = True, algorithms: tuple[str, ...] = ("HS256",)) -> Authenticator:
    return Authenticator(guests=guests, jwt_secret=SECRET, jwt_algorithms=algorithms, resume_secret=RESUME)


def token(secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    return jwt.encode({"sub": "ada", "exp": SOON, **claims}, secret, algorithm=algorithm)


def part(tree: object) -> str:
    data = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_a_guest_comes_in_where_guests_may_and_each_is_somebody_else():
    auth = authenticator()
    assert auth.admit(None, 10) == Player("guest:a", None)
    assert auth.admit(None, 11) != auth.admit(None, 10)


def test_a_guest_is_refused_where_guests_may_not():
    with pytest.raises(Unauthorised, match="token is needed"):
        authenticator(guests=False).admit(None, 10)


def test_a_signed_token_names_the_player():
    auth = authenticator(guests=False)
    assert auth.admit(token(), 1) == Player("ada", None)
    assert auth.admit(token(name="Ada L."), 1) == Player("ada", "Ada L.")
    # A name of another type is no name; the token still counts.
    assert auth.admit(token(name=7), 1) == Player("ada", None)


def test_every_accepted_algorithm_is_taken_and_no_other():
    auth = authenticator(algorithms=("HS256", "HS512"))
    long = SECRET * 2
    wide = Authenticator(guests=False, jwt_secret=long, jwt_algorithms=("HS256", "HS512"), resume_secret="")
    assert wide.admit(token(long, "HS512"), 1).id == "ada"
    with pytest.raises(Unauthorised):
        wide.admit(token(long, "HS384"), 1)
    with pytest.raises(Unauthorised):
        auth.admit(token(long, "HS256"), 1)


REFUSED = {
    "expired": token(exp=int(time.time()) - 10),
    "without an expiry": jwt.encode({"sub": "ada"}, SECRET),
    "without a subject": jwt.encode({"exp": SOON}, SECRET),
    "not valid yet": token(nbf=SOON),
    "signed with another secret": token(OTHER),
    "of the algorithm none": jwt.encode({"sub": "ada", "exp": SOON}, None, algorithm="none"),
    "of the algorithm none, by hand": f"{part({'alg': 'none'})}.{part({'sub': 'ada', 'exp': SOON})}.",
    "of another algorithm": token(SECRET * 2, "HS512"),
    "with a list for an algorithm": f"{part({'alg': ['HS256']})}.{part({'sub': 'ada', 'exp': SOON})}.AAAA",
    "with a changed payload": ".".join(
        [token().split(".")[0], part({"sub": "bob", "exp": SOON}), token().split(".")[2]]
    ),
    "with a cut signature": token()[:-4],
    "of an empty subject": token(sub=""),
    "of a subject that is a number": jwt.encode({"sub": 7, "exp": SOON}, SECRET),
    "of a subject of 65 bytes": token(sub="a" * 65),
    "of a subject of 33 two-byte letters": token(sub="é" * 33),
    "of a subject that is no Unicode": token(sub="\ud800"),
    "of a subject with a NUL": token(sub="ada\0"),
    "of a subject named as guests are": token(sub="guest:a"),
    "of an expiry that is text": token(exp="soon"),
    "nested deeper than a parser goes": f"{part(b'[' * 2000)}.{part({})}.AAAA",
    "with a payload nested deeper than a parser goes": jwt.api_jws.encode(b"[" * 2000, SECRET),
    "text": "hello",
    "dots": "..",
    "not ASCII": "é.ü.ß",
    "a resume token": jwt.encode({"s": 1, "n": 1}, RESUME),
}


@pytest.mark.parametrize("forged", list(REFUSED.values()), ids=list(REFUSED))
def test_a_token_is_refused_that_is(forged: str):
    with pytest.raises(Unauthorised):
        authenticator().admit(forged, 1)


def test_a_subject_of_64_bytes_is_the_longest():
    assert authenticator().admit(token(sub="é" * 32), 1).id == "é" * 32


def test_without_a_secret_of_its_own_a_server_accepts_nobodys_token():
    blank = Authenticator(guests=True, jwt_secret="", jwt_algorithms=("HS256",), resume_secret="")
    for secret in (SECRET, "\0" * 32):
        with pytest.raises(Unauthorised):
            blank.admit(token(secret), 1)


def test_a_resume_token_names_its_session_its_nonce_and_its_gateway():
    auth = authenticator()
    assert auth.read_resume(auth.resume_token(2**53 - 1, 12345, 9)) == (2**53 - 1, 12345, 9)


def test_a_resume_token_of_another_gateway_with_the_same_secret_counts():
    assert authenticator().read_resume(authenticator().resume_token(5, 6, 1)) == (5, 6, 1)


def test_tokens_of_any_gateway_of_the_world_count_whose_key_is_known():
    theirs = Authenticator(guests=True, jwt_secret="", jwt_algorithms=("HS256",), resume_secret=OTHER)
    ours = authenticator()
    with pytest.raises(ResumeFailed):
        ours.read_resume(theirs.resume_token(5, 6, 1))
    ours.trust([RESUME], all_known=False)
    with pytest.raises(ResumeUnsure):
        ours.read_resume(theirs.resume_token(5, 6, 1))
    with pytest.raises(ResumeFailed):
        ours.read_resume("text")
    ours.trust([RESUME, OTHER], all_known=True)
    assert ours.read_resume(theirs.resume_token(5, 6, 1)) == (5, 6, 1)
    # It goes on signing with its own.
    assert authenticator().read_resume(ours.resume_token(7, 8, 1)) == (7, 8, 1)


def test_a_resume_token_fits_the_protocols_limit():
    assert len(authenticator().resume_token(2**53 - 1, 2**31 - 1, 2**53 - 1)) <= 256


FORGED = {
    "signed with another secret": jwt.encode({"s": 1, "n": 2, "g": 3}, OTHER),
    "of the algorithm none": jwt.encode({"s": 1, "n": 2, "g": 3}, None, algorithm="none"),
    "without a nonce": jwt.encode({"s": 1, "g": 3}, RESUME),
    "without a gateway": jwt.encode({"s": 1, "n": 2}, RESUME),
    "of a session that is text": jwt.encode({"s": "x", "n": 2, "g": 3}, RESUME),
    "of an endless session": jwt.api_jws.encode(b'{"s": Infinity, "n": 1, "g": 3}', RESUME),
    "an account's token": token(),
    "nested deeper than a parser goes": f"{part(b'[' * 2000)}.{part({})}.AAAA",
    "text": "r.7.Zm9v",
    "empty": "",
}


@pytest.mark.parametrize("forged", list(FORGED.values()), ids=list(FORGED))
def test_a_resume_token_is_refused_that_is(forged: str):
    with pytest.raises(ResumeFailed):
        authenticator().read_resume(forged)


@given(st.text(max_size=300))
def test_any_text_is_refused_with_the_typed_error(text: str):
    auth = authenticator()
    with pytest.raises(Unauthorised):
        auth.admit(text, 1)
    with pytest.raises(ResumeFailed):
        auth.read_resume(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)
    )
)
def test_any_header_and_payload_is_refused_with_the_typed_error(tree: object):
    auth = authenticator()
    for forged in (f"{part(tree)}.{part(tree)}.AAAA", f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(tree)}.AAAA"):
        with pytest.raises(Unauthorised):
            auth.admit(forged, 1)
        with pytest.raises(ResumeFailed):
            auth.read_resume(forged)
