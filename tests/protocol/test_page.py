"""docs/protocol.md says what travels: examples byte for byte, and every code."""

from __future__ import annotations

import re
import zlib
from enum import IntEnum

import msgpack
import pytest

from clients.python import Views
from protocol import limits
from protocol.codec import decode_client, decode_server
from protocol.errors import CloseCode, ErrorCode
from protocol.messages import MessageType, ViewDigest
from tests.protocol import notation
from tests.protocol.meadow import EXAMPLES, WELCOME

PAGE = notation.PAGE.read_text()


def test_the_page_shows_exactly_these_examples() -> None:
    assert notation.read_blocks().keys() == EXAMPLES.keys()


@pytest.mark.parametrize("title", EXAMPLES)
def test_an_example_is_what_the_codec_makes(title: str) -> None:
    value, data = notation.read_blocks()[title]
    assert data == EXAMPLES[title], "the page should read:\n" + notation.block(title, EXAMPLES[title])
    # The value beside the bytes is theirs. EVENT's floats are its only 32-bit ones, and the example has none.
    assert value == msgpack.unpackb(data)


@pytest.mark.parametrize("title", EXAMPLES)
def test_an_example_is_readable(title: str) -> None:
    data = EXAMPLES[title]
    kind = MessageType(msgpack.unpackb(data)[0])
    message = decode_client(data) if kind < MessageType.WELCOME else decode_server(data)
    assert type(message).__name__.upper() == kind.name.replace("_", "")


def test_every_message_has_an_example() -> None:
    shown = {MessageType(msgpack.unpackb(data)[0]) for data in EXAMPLES.values()}
    assert shown == set(MessageType)


def test_every_message_stands_in_a_table_with_its_number() -> None:
    rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \| `\[(\d+)[,\]]", PAGE, re.MULTILINE)
    assert [(int(n), name) for n, name, _ in rows] == [(m.value, m.name) for m in MessageType]
    assert all(n == first for n, _, first in rows)


def test_the_view_digest_of_the_page_is_that_of_its_story() -> None:
    views = Views(WELCOME)
    for title in ("KEYFRAME", "DELTA of movement", "DELTA with everything"):
        views.receive(EXAMPLES[title])
    count, crc = views[1].digest()
    assert decode_server(EXAMPLES["VIEW_DIGEST"]) == ViewDigest(1, views[1].tick or 0, count, crc)
    shown = re.search(r"```digest\n(.*?)\n```", PAGE, re.DOTALL)
    assert shown is not None
    assert bytes.fromhex(shown[1]) == notation.digest_bytes(), notation.digest_block()
    assert zlib.crc32(bytes.fromhex(shown[1])) == crc


@pytest.mark.parametrize(("heading", "codes"), [("Errors", ErrorCode), ("Close codes", CloseCode)])
def test_the_tables_of_codes_are_those_of_the_code(heading: str, codes: type[IntEnum]) -> None:
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \| \S", section, re.MULTILINE)
    assert [(int(n), name) for n, name in rows] == [(c.value, c.name) for c in codes]


@pytest.mark.parametrize(
    ("row", "limit"),
    [
        ("a client's frame", limits.FRAME_BYTES_MAX),
        ("a server's frame", limits.SERVER_FRAME_BYTES_MAX),
        ("elements of an array in a client's frame", limits.ARGS_MAX),
        ("`name`", limits.NAME_BYTES_MAX),
        ("`token`", limits.TOKEN_BYTES_MAX),
        ("`resume`", limits.RESUME_BYTES_MAX),
        ("`text` of ERROR and BYE", limits.REASON_BYTES_MAX),
        ("ticks from one DELTA of a region to the next", limits.TICK_GAP_MAX),
        ("archetypes", limits.ARCHETYPES_MAX),
    ],
)
def test_the_table_of_limits_is_that_of_the_code(row: str, limit: int) -> None:
    section = PAGE.split("\n## Limits\n")[1].split("\n## ")[0]
    found = re.search(rf"^\| {re.escape(row)}[^|]*\| ([\d,]+)", section, re.MULTILINE)
    assert found is not None
    assert int(found[1].replace(",", "")) == limit


def test_every_link_within_the_page_leads_somewhere() -> None:
    anchors = {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= anchors
