"""What the frontier's regions tell each other: blows, arrows and hands that reach over a border, and what they got."""

from __future__ import annotations

from server.sim import F32, U8, U64, Mail, World, arg


class Blow(Mail):
    """A blow that lands within the circle, in the arc before the striker."""

    striker: U64 = arg("entity")
    face_x: F32 = arg("f32")
    face_y: F32 = arg("f32")


class Arrow(Mail):
    """An arrow that hit nobody where it was shot, and flies on; the circle holds its line."""

    archer: U64 = arg("entity")
    from_x: F32 = arg("f32")
    from_y: F32 = arg("f32")
    dx: F32 = arg("f32")
    dy: F32 = arg("f32")
    # How old, in ticks, was what the archer saw.
    seen_ago: U8 = arg("u8")


class Reward(Mail):
    """To one who felled somebody over a border."""

    points: U8 = arg("u8")


class Reach(Mail):
    """A hand that found nothing on its own side; the circle is what is within its reach."""

    hand: U64 = arg("entity")


class Given(Mail):
    """To one whose hand took something over a border."""

    # A Goods.
    goods: U8 = arg("u8")


# New ones come last: mail of older versions may be under way.
MAIL = (Blow, Arrow, Reward, Reach, Given)


def has_neighbours(world: World) -> bool:
    """Whether there is anything beyond the region."""
    return world.limits != world.bounds
