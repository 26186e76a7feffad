"""Who may come in: guests, signed tokens (JWT), resume tokens.

A resume token is signed too, so that a gateway knows its own without a look-up. It names the
session, a nonce that every WELCOME renews, and the gateway that gave it: a spent token opens nothing there.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import jwt

from server.gateway.errors import ResumeFailed, ResumeUnsure, Unauthorised

_RESUME_ALGORITHM: Final = "HS256"
_PLAYER_BYTES_MAX: Final = 64
# No account can be taken for a guest, nor a guest be taken over by an account.
_GUEST: Final = "guest:"


@dataclass(frozen=True, slots=True)
class Player:
    """Who somebody is, for the game's books."""

    id: str
    # What the token calls them, if it does.
    name: str | None


def is_guest(player: str) -> bool:
    """Whether somebody of this number is in no book: nothing but a resume token brings them back."""
    return player.startswith(_GUEST)


class Authenticator:
    """`jwt_secret`, `resume_secret`: "" for a random one, good until this process ends."""

    def __init__(self, *, guests: bool, jwt_secret: str, jwt_algorithms: tuple[str, ...], resume_secret: str) -> None:
        self._guests = guests
        self._secret = jwt_secret or secrets.token_hex(32)
        self._algorithms = list(jwt_algorithms)
        # Tokens are signed with the first, and taken with any.
        self._resume_secrets = [resume_secret or secrets.token_hex(32)]
        self._all_known = True

    def trust(self, resume_secrets: Sequence[str], *, all_known: bool) -> None:
        """Sign with the first of these from now on, and take what any of them signed.

        `all_known`: False where some gateway of the world may sign with yet another.
        """
        self._resume_secrets, self._all_known = list(resume_secrets), all_known

    def admit(self, token: str | None, session: int) -> Player:
        """The player a HELLO brings. Raises Unauthorised."""
        if token is None:
            if not self._guests:
                raise Unauthorised("a token is needed: guests do not play here")
            return Player(f"{_GUEST}{session:x}", None)
        try:
            claims = jwt.decode(token, self._secret, algorithms=self._algorithms, options={"require": ["exp", "sub"]})
        except jwt.PyJWTError as error:
            raise Unauthorised(f"the token is not accepted: {error}") from error
        subject, name = claims["sub"], claims.get("name")
        # A lone surrogate has no bytes, and the world's columns end a text at NUL: two players would be one.
        if not isinstance(subject, str) or not subject.isprintable():
            raise Unauthorised("the token's subject is no printable text")
        if not 0 < len(subject.encode()) <= _PLAYER_BYTES_MAX:
            raise Unauthorised(f"the token's subject has more than {_PLAYER_BYTES_MAX} bytes, or none")
        if subject.startswith(_GUEST):
            raise Unauthorised(f"a subject that begins with {_GUEST!r} is a guest's")
        return Player(subject, name if isinstance(name, str) else None)

    def resume_token(self, session: int, nonce: int, gateway: int) -> str:
        """A token that brings this session back once. `gateway`: who gives it, and knows whether it is spent."""
        claims = {"s": session, "n": nonce, "g": gateway}
        return jwt.encode(claims, self._resume_secrets[0], algorithm=_RESUME_ALGORITHM)

    def read_resume(self, token: str) -> tuple[int, int, int]:
        """(session, nonce, gateway). Raises ResumeFailed, ResumeUnsure."""
        for secret in self._resume_secrets:
            try:
                claims = jwt.decode(token, secret, algorithms=[_RESUME_ALGORITHM])
                return int(claims["s"]), int(claims["n"]), int(claims["g"])
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, KeyError, TypeError, ValueError, OverflowError) as error:
                raise ResumeFailed("not a resume token of this world") from error
        if not self._all_known:
            raise ResumeUnsure("signed with a key that is not known here")
        raise ResumeFailed("not a resume token of this world")
