"""Views against frames made by hand."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest

from clients.python import Views
from protocol import codec
from protocol.errors import InvalidArgument, MalformedMessage, UnknownMessage
from protocol.messages import RegionInfo
from protocol.schema import ArchetypeSchema, ComponentSchema, Schema, Wire
from tests.protocol.meadow import ADA, EXAMPLES, REGION, WELCOME, avatar, sheep


@pytest.fixture
def views() -> Views:
    """Ada (5) and two sheep (300, 9) at tick 1234."""
    made = Views(WELCOME)
    made.receive(EXAMPLES["KEYFRAME"])
    return made


def delta(tick=1235, leaves=b"", enters=(), changes=()) -> bytes:
    return codec.encode_delta(1, tick, leaves, enters, changes)


def test_a_keyframe_is_the_whole_view(views: Views) -> None:
    view = views[1]
    assert sorted(view.entities) == [5, 9, 300]
    assert view.tick == 1234
    assert view.archetype(5) == "Avatar"
    assert view.value(5, "Position.x") == -500.0
    assert view.value(5, "Position.y") == 10.0
    assert view.value(5, "Body.health") == 100
    assert view.value(5, "Body.name") == "Ada"
    assert view.value(9, "Position.x") == -480.5
    views.receive(codec.encode_keyframe(1, 2000, [(1, sheep(7, 0, 0))]))
    assert list(view.entities) == [7]
    assert view.tick == 2000
    views.receive(codec.encode_keyframe(1, 2001, []))
    assert len(view) == 0


def test_changes_overwrite_their_component_alone(views: Views) -> None:
    views.receive(delta(changes=[(1, struct.pack("<HB6s", 5, 42, b"Eve"))]))
    assert views[1].value(5, "Position.x") == -500.0
    assert views[1].value(5, "Body.health") == 42
    assert views[1].value(5, "Body.name") == "Eve"
    views.receive(delta(changes=[(0, sheep(5, 1.5, 2.5) + sheep(300, -512, 0))]))
    assert views[1].value(5, "Position.x") == 1.5
    assert views[1].value(5, "Body.name") == "Eve"
    assert views[1].value(300, "Position.x") == -512


def test_an_entity_held_on_to_is_updated_in_place(views: Views) -> None:
    record = views[1].entities[5].record
    views.receive(delta(changes=[(0, sheep(5, 1.5, 2.5))]))
    assert views[1].entities[5].record is record
    assert bytes(record) == avatar(5, 1.5, 2.5, 100, b"Ada")


def test_leaves_come_before_enters_and_enters_before_changes(views: Views) -> None:
    handle = struct.pack("<H", 5)
    views.receive(delta(leaves=handle, enters=[(1, sheep(5, 1, 1))], changes=[(0, sheep(5, 2, 2))]))
    assert views[1].archetype(5) == "Sheep"
    assert views[1].value(5, "Position.x") == 2.0


def test_an_enter_for_a_known_handle_replaces_it(views: Views) -> None:
    views.receive(delta(enters=[(1, sheep(5, 3, 3)), (0, avatar(9, 0, 0, 1, b"Bo"))]))
    assert (views[1].archetype(5), views[1].archetype(9)) == ("Sheep", "Avatar")
    with pytest.raises(KeyError):
        views[1].value(5, "Body.name")


def test_changes_and_leaves_of_strangers_are_ignored(views: Views) -> None:
    before = views[1].digest()
    views.receive(
        delta(leaves=struct.pack("<H", 77), changes=[(0, sheep(78, 0, 0)), (1, struct.pack("<HB6s", 79, 1, b""))])
    )
    assert views[1].digest() == before


@pytest.mark.parametrize("gap", [0, 1, 63, 64])
def test_ticks_go_on_from_their_low_bits(views: Views, gap: int) -> None:
    views.receive(delta(1234 + gap))
    assert views[1].tick == 1234 + gap


def test_one_component_may_come_twice(views: Views) -> None:
    views.receive(delta(changes=[(0, sheep(5, 1, 1)), (0, sheep(5, 2, 2))]))
    assert views[1].value(5, "Position.y") == 2.0


def test_the_digest_is_over_ascending_handles() -> None:
    one, other = Views(WELCOME), Views(WELCOME)
    records = {5: (0, ADA), 9: (1, sheep(9, 0, 0)), 300: (1, sheep(300, 1, 1))}
    one.receive(codec.encode_keyframe(1, 1, [records[5], records[9], records[300]]))
    other.receive(codec.encode_keyframe(1, 1, [records[300], records[9]]))
    assert one[1].digest() != other[1].digest()
    other.receive(delta(2, enters=[records[5]]))
    covered = b"\0" + ADA + b"\1" + records[9][1] + b"\1" + records[300][1]
    assert one[1].digest() == other[1].digest() == (3, zlib.crc32(covered))
    assert Views(WELCOME)[1].digest() == (0, 0)


def test_a_table_is_sorted_and_typed(views: Views) -> None:
    table = views[1].table(1)
    assert table.dtype == WELCOME.schema.record_dtype(1, "u16")
    assert table["handle"].tolist() == [9, 300]
    assert table["Position.x"].tolist() == [round((512 - 480.5) * 64), 13 * 64]
    assert views[1].table(0)["Body.name"].tolist() == [b"Ada"]


def test_you_moves_ones_own_entity(views: Views) -> None:
    assert views.entity == (1, 5)
    views.receive(codec.encode_you(1, 9))
    assert views.entity == (1, 9)


ALL_TYPES = ComponentSchema(
    1,
    "All",
    (
        ("b", Wire("bool")),
        ("u8", Wire("u8")),
        ("i8", Wire("i8", scale=0.5, offset=3)),
        ("u16", Wire("u16")),
        ("i16", Wire("i16", offset=-7)),
        ("u32", Wire("u32")),
        ("i32", Wire("i32", scale=2)),
        ("f32", Wire("f32")),
        ("s", Wire("utf8", size=3)),
    ),
)


def test_every_type_is_read_back_at_both_widths_of_handle() -> None:
    place = ComponentSchema(0, "Position", (("x", Wire("u32", 1 / 8, 100, "x")), ("y", Wire("f32", axis="y"))))
    schema = Schema("all", 1, (place, ALL_TYPES), (ArchetypeSchema(0, "All", (1, 0)),), (), (), 0)
    wide = RegionInfo(2, 10.0, -20.0, 1000.0, 1000.0, "u32")
    narrow = replace(wide, id=3, handle="u16")
    views = Views(replace(WELCOME, schema=schema, regions=(wide, narrow), entity=(2, 0)))
    for region, handle in ((wide, 70_000), (narrow, 700)):
        record = np.zeros(1, schema.record_dtype(0, region.handle))
        record[0] = (handle, 2, 255, -128, 65535, -32768, 2**32 - 1, -(2**31), 0.1, "é".encode(), 16, 2.5)
        views.receive(codec.encode_keyframe(region.id, 1, [(0, record.tobytes())]))
        names = ["b", "u8", "i8", "u16", "i16", "u32", "i32", "f32", "s"]
        values = [views[region.id].value(handle, f"All.{n}") for n in names]
        assert values == [True, 255, -61.0, 65535, -32775.0, 2**32 - 1, -(2.0**32), float(np.float32(0.1)), "é"]
        assert values[0] is True
        assert views[region.id].value(handle, "Position.x") == 16 / 8 + 100 + 10
        assert views[region.id].value(handle, "Position.y") == 2.5 - 20


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (delta(leaves=b"\1"), MalformedMessage),
        (delta(enters=[(1, sheep(1, 0, 0) + b"\0")]), MalformedMessage),
        (delta(enters=[(2, b"")]), InvalidArgument),
        (delta(changes=[(0, b"12345")]), MalformedMessage),
        (delta(changes=[(2, b"")]), InvalidArgument),
        # A sheep has no body.
        (delta(changes=[(1, struct.pack("<HB6s", 9, 1, b""))]), InvalidArgument),
        (codec.encode_delta(2, 1235, b"", (), ()), InvalidArgument),
        (codec.encode_keyframe(9, 1, []), InvalidArgument),
        (codec.encode_you(9, 1), InvalidArgument),
        (b"\x91\x63", UnknownMessage),
    ],
)
def test_what_the_schema_cannot_mean_is_refused(views: Views, frame: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        views.receive(frame)


def test_a_delta_before_any_keyframe_is_refused() -> None:
    with pytest.raises(MalformedMessage, match="before its first KEYFRAME"):
        Views(WELCOME).receive(delta())


def test_views_are_a_mapping_of_regions() -> None:
    views = Views(WELCOME)
    assert list(views) == [REGION.id]
    assert len(views) == 1
    assert 5 not in views[1]
