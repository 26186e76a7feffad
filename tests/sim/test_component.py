"""Declaring columns, components and archetypes."""

import numpy as np
import pytest

from server.sim import F32, I8, Archetype, Component, DeclarationError, Wire, column


class Position(Component):
    x: F32 = column(np.float32, wire=Wire("u16", scale=1 / 64, axis="x"))
    y: F32 = column(np.float32, wire=Wire("u16", scale=1 / 64, axis="y"))


class Health(Component):
    points: I8 = column(np.int8, default=100)
    past: F32 = column(np.float32, shape=(4,))


def test_an_instance_holds_its_columns():
    health = Health(10)
    assert [(name, a.shape, a.dtype) for name, a in health.arrays()] == [
        ("points", (10,), np.int8),
        ("past", (10, 4), np.float32),
    ]
    assert not health.points.any()


def test_instances_share_nothing():
    a, b = Health(3), Health(3)
    a.points[:] = 5
    assert not b.points.any()


def test_a_component_inherits_its_bases_columns_first():
    class Armoured(Health):
        armour: I8 = column(np.int8)

    assert list(Armoured.columns) == ["points", "past", "armour"]
    assert list(Health.columns) == ["points", "past"]


@pytest.mark.parametrize(
    "declare",
    [
        lambda: column(np.complex64),
        lambda: column("O"),
        lambda: column("S8", wire=Wire("u8")),
        lambda: column(np.uint8, wire=Wire("utf8", size=8)),
        lambda: column("S8", wire=Wire("utf8", size=9)),
        lambda: column(np.float32, shape=(3,), wire=Wire("u16")),
        lambda: column(np.uint8, default=300),
        lambda: column(np.uint8, default=-1),
        lambda: column(np.int32, default=1.5),
        lambda: column("S4", default=b"too long"),
        lambda: column(np.int32, default=b"text"),
    ],
)
def test_columns_that_cannot_be(declare):
    with pytest.raises(DeclarationError):
        declare()


@pytest.mark.parametrize(
    ("dtype", "default"), [(np.float32, 0.1), (np.float32, float("nan")), (np.bool_, True), ("S4", b"four"), ("S4", 0)]
)
def test_defaults_that_can_be(dtype, default):
    assert column(dtype, default=default).dtype == np.dtype(dtype)


@pytest.mark.parametrize("name", ["columns", "arrays"])
def test_names_the_component_itself_uses_are_taken(name):
    with pytest.raises(DeclarationError, match="taken"):
        type("Bad", (Component,), {name: column(np.uint8)})


def test_an_archetype_names_a_component_once():
    with pytest.raises(DeclarationError, match="twice"):
        Archetype("avatar", Position, Health, Position)
    assert "avatar" in repr(Archetype("avatar", Position))
