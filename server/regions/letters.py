"""A game's mail as letters: which regions each message is for, and whom it finds when it comes.

Systems send arrays; a letter holds what one call sent to one region. Mail to an entity follows it: a region that it
has left sends the letter on to where it went, on the lane of those who go over borders, so that it never comes there
before the entity does.

Mail of a kind that says so comes back, as a letter like any other, where it finds nobody, is refused, or cannot leave.
What cannot come back either is a dead letter.

Of a divided region only the region itself and its parts know (server/regions/division.py). Others send what falls on
its ground to the region, which sends the parts their share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Final

import msgpack
import numpy as np
from numpy.typing import NDArray

from server.regions.borders import Borders
from server.regions.division import Division
from server.shard.errors import MailError
from server.shard.mail import FIRST_MAIL, LETTER_BYTES_MAX, Lane, Letter, Post
from server.sim.component import U64, Rows
from server.sim.errors import DeclarationError
from server.sim.game import Game
from server.sim.messages import Mail, Sent
from server.sim.migrate import same_mail
from server.sim.world import World, birth_region

# How often a letter is sent on. Nobody crosses more borders than that while one letter flies; regions that were set
# back to different times may send it in a circle.
_SENT_ON_MAX: Final = 64
# No region's number.
_NOWHERE: Final = -1


class _For(IntEnum):
    """Whom a letter's messages are for."""

    # The region itself.
    REGION = 0
    # Entities, by number.
    ENTITIES = 1
    # Circles: x, y, radius.
    PLACES = 2
    # The region whose system sent them first: they come back. Numbers of whom they were for, 0 for a region.
    SENDER = 3


@dataclass(frozen=True, slots=True)
class _Messages:
    """What one letter says: n messages of a kind."""

    kind: type[Mail]
    # The region whose system sent them; a letter that is sent on has another source.
    source: int
    # By how many regions it was sent on.
    sent_on: int
    whom: _For
    # () for REGION, (ids,) for ENTITIES and SENDER, (x, y, radius) for PLACES: (n,) each.
    address: tuple[NDArray[Any], ...]
    # One (n,) array per argument.
    values: tuple[NDArray[Any], ...]
    n: int

    def those(self, places: Rows) -> _Messages:
        address = tuple(a[places] for a in self.address)
        values = tuple(v[places] for v in self.values)
        return replace(self, address=address, values=values, n=places.size)

    @property
    def ids(self) -> U64:
        """(n,) numbers of whom they are for, 0 for nobody."""
        of_entities = self.whom is _For.ENTITIES or self.whom is _For.SENDER
        return self.address[0] if of_entities else np.zeros(self.n, np.uint64)


_ADDRESSES: Final[Mapping[_For, tuple[str, ...]]] = {
    _For.REGION: (),
    _For.ENTITIES: ("<u8",),
    _For.PLACES: ("<f4", "<f4", "<f4"),
    _For.SENDER: ("<u8",),
}


class Letters:
    """What a region does with its game's mail. No part of its state: `division`, the borders and the post are."""

    def __init__(self, game: Game, division: Division, region: int) -> None:
        self._game = game
        self._division = division
        self._region = region
        self._numbers: dict[type[Mail], int] = {kind: FIRST_MAIL + i for i, kind in enumerate(game.mail)}
        self._kinds = {number: kind for kind, number in self._numbers.items()}
        # Messages to entities that are no more, since the start; no part of the state.
        self.to_nobody = 0

    # -- sending ---------------------------------------------------------------

    def send(self, sent: Sequence[Sent], world: World, borders: Borders, post: Post) -> None:
        """Post what a tick's systems sent. Raises DeclarationError for a region that there is not."""
        for call in sent:
            if call.kind not in self._numbers:
                raise DeclarationError(f"{self._game.name} does not list {call.kind.__name__} among its mail")
            messages = self._messages(call)
            for destination, lane, places in self._routes(call, world, borders):
                if destination == _NOWHERE:
                    self._nobodys(messages.those(places), post)
                else:
                    self._post(post, destination, lane, messages.those(places))

    def _messages(self, call: Sent) -> _Messages:
        whom: _For = _For.REGION
        address: tuple[NDArray[Any], ...] = ()
        if call.to is not None:
            whom, address = _For.ENTITIES, (call.to,)
        elif call.at is not None:
            whom, address = _For.PLACES, call.at
        return _Messages(call.kind, self._region, 0, whom, address, call.values, call.n)

    def _routes(self, call: Sent, world: World, borders: Borders) -> Iterator[tuple[int, Lane, Rows]]:
        """(region, lane, which of the messages), regions ascending; _NOWHERE for those to nobody of this world."""
        lane = Lane[call.lane.upper()]
        if call.at is not None:
            which, touched = self._division.atlas.touching(*call.at)
            for region in np.unique(touched).tolist():
                if call.here or region != self._region:
                    yield region, lane, which[touched == region]
            return
        left = np.zeros(call.n, np.bool_)
        if call.to is not None:
            went = borders.whereabouts(call.to)
            asked = birth_region(call.to) if call.region is None else call.region
            here = world.rows_by_id(call.to) >= 0
            regions = np.where(here, self._region, np.where(went < 0, asked.astype(np.int64), went))
            left = (went >= 0) & ~here
        else:
            assert call.region is not None, "Tick.send has seen to it"
            regions = call.region.astype(np.int64)
        for region in np.unique(regions).tolist():
            there = regions == region
            if region not in self._division.atlas:
                if call.to is None:
                    raise DeclarationError(f"{call.kind.__name__} is for region {region}, and there is none")
                # A number that no entity of this world has, such as 0.
                yield _NOWHERE, lane, np.flatnonzero(there)
                continue
            # Behind whoever left from here, however urgent the message: on another lane it could be there first, and
            # would be sent to the region of its birth and back until the entity comes.
            for behind, places in ((lane, np.flatnonzero(there & ~left)), (Lane.URGENT, np.flatnonzero(there & left))):
                if places.size:
                    yield region, behind, places

    def _post(self, post: Post, destination: int, lane: Lane, messages: _Messages) -> None:
        message_bytes = sum(a.itemsize for a in (*messages.address, *messages.values))  # exact: integers
        most = max(1, LETTER_BYTES_MAX // 2 // max(1, message_bytes))
        for at in range(0, messages.n, most):
            part = messages if messages.n <= most else messages.those(np.arange(at, min(at + most, messages.n)))
            number, payload = self._numbers[messages.kind], self._encode(part)
            if not _comes_back(part):
                post.send_or_bury(destination, lane, number, payload)
            elif not post.send(destination, lane, number, payload):
                self._give_back(part, post)

    def _nobodys(self, messages: _Messages, post: Post) -> None:
        """There is nobody whom these are for."""
        self.to_nobody += messages.n
        if _comes_back(messages):
            self._give_back(messages, post)

    def _give_back(self, messages: _Messages, post: Post) -> None:
        """Send them back; where their sender is of another layout of the world, it is for this region to hear."""
        back = replace(messages, whom=_For.SENDER, address=(messages.ids,), sent_on=0)
        sender = messages.source if messages.source in self._division.atlas else self._region
        self._post(post, sender, Lane.NORMAL, back)

    def _encode(self, messages: _Messages) -> bytes:
        encoded: bytes = msgpack.packb(
            [
                self._game.version,
                messages.source,
                int(messages.whom),
                messages.n,
                [a.tobytes() for a in messages.address],
                [v.tobytes() for v in messages.values],
                messages.sent_on,
            ]
        )
        return encoded

    # -- receiving ---------------------------------------------------------------

    def take(
        self, letters: Sequence[Letter], world: World, borders: Borders, post: Post
    ) -> tuple[Mapping[type[Mail], Mail], Mapping[type[Mail], Mail]]:
        """What systems find in this tick's letters, and what has come back.

        Refused is what is of no kind or version known here.
        """
        found: dict[type[Mail], list[Mail]] = {}
        back: dict[type[Mail], list[Mail]] = {}
        for letter in letters:
            try:
                messages = self._decode(letter)
            except MailError as error:
                post.refuse(letter, str(error))
                continue
            if (mail := self._deliver(letter, messages, world, borders, post)) is not None:
                (back if messages.whom is _For.SENDER else found).setdefault(messages.kind, []).append(mail)
        return _joined(found), _joined(back)

    def refused(self, letter: Letter, reason: str, post: Post) -> None:
        """A letter of ours that another region has refused: it comes back to its sender, or is dead."""
        try:
            messages = self._decode(letter)
        except MailError:
            post.bury(letter, reason)
            return
        if _comes_back(messages):
            self._give_back(messages, post)
        else:
            post.bury(letter, reason)

    def _decode(self, letter: Letter) -> _Messages:
        """Raises MailError."""
        kind = self._kinds.get(letter.kind)
        if kind is None:
            raise MailError(f"{self._game.name} {self._game.version} knows no mail of kind {letter.kind}")
        try:
            version, source, whom, n, address, values, *counted = msgpack.unpackb(letter.payload)
            # Letters of before this was counted end here.
            (sent_on,) = counted or (0,)
            if not same_mail(self._game.migrations, version, self._game.version):
                raise MailError(f"{kind.__name__} of {self._game.name} {version}, and this is {self._game.version}")
            messages = _Messages(
                kind,
                source,
                sent_on,
                _For(whom),
                tuple(np.frombuffer(raw, d) for raw, d in zip(address, _ADDRESSES[_For(whom)], strict=True)),
                tuple(np.frombuffer(raw, d) for raw, d in zip(values, kind.dtypes(), strict=True)),
                n,
            )
        except (ValueError, TypeError) as error:
            raise MailError(f"not mail: {error!r}") from error
        if type(source) is not int or not 0 <= source < 2**32:
            raise MailError(f"not mail: from {source!r}")
        if type(sent_on) is not int or not 0 <= sent_on <= _SENT_ON_MAX:
            raise MailError(f"not mail: sent on {sent_on!r} times")
        if type(n) is not int or not 0 <= n <= LETTER_BYTES_MAX:
            raise MailError(f"not mail: {n!r} messages")
        if any(a.size != n for a in (*messages.address, *messages.values)):
            raise MailError("not mail: arrays of different lengths")
        return messages

    def _deliver(self, letter: Letter, messages: _Messages, world: World, borders: Borders, post: Post) -> Mail | None:
        """What of a letter is for us; the rest is sent on to where its entities went. None: nothing is for us."""
        division, messages = self._division, _by_number(messages, world)
        if messages.whom is _For.PLACES and division.whole == self._region and messages.source not in division.family:
            self._share(letter, messages, post)
        rows = np.full(messages.n, -1, np.int64)
        if messages.whom is _For.ENTITIES:
            rows = world.rows_by_id(messages.address[0])
            if (rows < 0).any():
                self._send_on(letter, messages.those(np.flatnonzero(rows < 0)), borders, post)
                messages, rows = messages.those(np.flatnonzero(rows >= 0)), rows[rows >= 0]
        if not messages.n:
            return None
        nowhere = np.full(messages.n, np.nan, np.float32)
        x, y, radius = messages.address if messages.whom is _For.PLACES else (nowhere, nowhere, nowhere)
        source = letter.source if messages.whom is _For.SENDER else messages.source
        return messages.kind(
            rows, messages.ids, np.full(messages.n, source, np.uint32), (x, y, radius), messages.values
        )

    def _send_on(self, letter: Letter, messages: _Messages, borders: Borders, post: Post) -> None:
        """Send these after those whom they are for. Where one was born is known where one is, see `Borders`."""
        regions = borders.whereabouts(messages.address[0])
        born = birth_region(messages.address[0])
        regions = np.where((regions < 0) & (born != self._region), born, regions)
        for region in np.unique(regions).tolist():
            part = messages.those(np.flatnonzero(regions == region))
            if region not in self._division.atlas:
                self._nobodys(part, post)
                continue
            # Here it waits with one who waits for room.
            part = replace(part, sent_on=part.sent_on + (region != self._region))
            if part.sent_on > _SENT_ON_MAX and _comes_back(part):
                self._give_back(part, post)
            elif part.sent_on > _SENT_ON_MAX:
                post.bury(letter._replace(payload=self._encode(part)), f"sent on {_SENT_ON_MAX} times")
            else:
                self._post(post, region, Lane.URGENT, part)

    def _share(self, letter: Letter, messages: _Messages, post: Post) -> None:
        """Send the parts of this region, where it is divided, the circles that touch them."""
        which, touched = self._division.atlas.touching(*messages.address)
        for region in np.unique(touched).tolist():
            if region != self._region and region in self._division.family:
                self._post(post, region, Lane(letter.lane), messages.those(which[touched == region]))

    def send_off(self, letters: Sequence[Letter], world: World, borders: Borders, post: Post) -> None:
        """What came for a part without ground goes after those who left it. Called after departures."""
        for letter in letters:
            try:
                messages = self._decode(letter)
            except MailError as error:
                post.refuse(letter, str(error))
                continue
            if messages.whom is _For.REGION or messages.whom is _For.SENDER:
                self._post(post, self._division.whole, Lane(letter.lane), messages)
            elif messages.whom is _For.PLACES:
                # The region that the part belongs to had its share; here is no place.
                self.to_nobody += messages.n
            else:
                messages = _by_number(messages, world)
                here = world.rows_by_id(messages.address[0]) >= 0
                if not here.all():
                    self._send_on(letter, messages.those(np.flatnonzero(~here)), borders, post)
                if here.any():
                    # They go with the next tick, and this after them.
                    self._post(post, self._region, Lane.URGENT, messages.those(np.flatnonzero(here)))


def _comes_back(messages: _Messages) -> bool:
    return messages.kind.returns and messages.whom is not _For.SENDER


def _by_number(messages: _Messages, world: World) -> _Messages:
    """For those who have the handles here by which a player named them: by the number that follows them."""
    if messages.whom is not _For.ENTITIES:
        return messages
    told = messages.address[0]
    ids = world.named(told)
    return messages if ids is told else replace(messages, address=(np.where(ids != 0, ids, told),))


def _joined(found: Mapping[type[Mail], Sequence[Mail]]) -> dict[type[Mail], Mail]:
    """All of a kind as one."""
    return {kind: parts[0] if len(parts) == 1 else _as_one(kind, parts) for kind, parts in found.items()}


def _as_one(kind: type[Mail], parts: Sequence[Mail]) -> Mail:
    def all_of(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    place = (all_of("x"), all_of("y"), all_of("radius"))
    return kind(all_of("row"), all_of("to"), all_of("source"), place, tuple(all_of(a.name) for a in kind.args))
