"""States of one version of a game as states of another: every kind of change, forward and back."""

import numpy as np
import pytest

from server.sim import (
    F32,
    I16,
    U8,
    Archetype,
    Component,
    DeclarationError,
    Migration,
    MigrationError,
    Saved,
    World,
    column,
)
from server.sim.migrate import migrate, migrate_entities, path, same_mail

BOUNDS = (0.0, 0.0, 100.0, 100.0)


class Place(Component):
    x: F32 = column(np.float32)


class Health(Component):
    hp: I16 = column(np.int16, default=100)
    kept: U8 = column(np.uint8, default=4)


class Aim(Component):
    past: F32 = column(np.float32, shape=(2,))


MAN = Archetype("man", Place, Health, Aim)
ROCK = Archetype("rock", Place)
WOLF = Archetype("wolf", Place, Health)
COMPONENTS = (Place, Health, Aim)
ARCHETYPES = (MAN, ROCK, WOLF)


def make(components=COMPONENTS, archetypes=ARCHETYPES):
    return World(components, archetypes, 64, BOUNDS)


def played():
    """Two men, nine rocks, three wolves; one rock is gone."""
    world = make()
    men, rocks, wolves = world.spawn(MAN, 2), world.spawn(ROCK, 9), world.spawn(WOLF, 3)
    world[Place].x[: world.high_water] = np.arange(world.high_water)
    world[Health].hp[men] = (7, 8)
    world[Health].hp[wolves] = (300, 301, 302)
    world[Aim].past[men] = [[1, 2], [3, 4]]
    world.owner[men] = (11, 12)
    world.despawn(rocks[:1])
    world.end_tick()
    return world


def migrated(change, components=COMPONENTS, archetypes=ARCHETYPES, world=None):
    """The world after this change, in a world of these."""
    source = world or played()
    before = source.digest()
    arrays = migrate(source.capture(), [change], components, archetypes)
    assert source.digest() == before
    made = make(components, archetypes)
    made.adopt(arrays)
    return made


def component(name, **columns):
    return type(name, (Component,), columns)


def values(world, component, field, archetype):
    return getattr(world[component], field)[world.rows_of(archetype)].tolist()


def test_nothing_to_do_is_the_same_world():
    assert migrated(lambda saved: None).digest() == played().digest()


def test_a_field_is_added_with_its_default_where_the_component_is():
    new = component("Health", hp=column(np.int16), kept=column(np.uint8), shield=column(np.uint8, default=10))
    archetypes = (Archetype("man", Place, new, Aim), ROCK, Archetype("wolf", Place, new))
    world = migrated(
        lambda saved: saved.add_field("Health", "shield", np.uint8, default=10), (Place, new, Aim), archetypes
    )
    assert values(world, new, "shield", archetypes[0]) == [10, 10]
    assert values(world, new, "hp", archetypes[2]) == [300, 301, 302]
    # Neither rocks nor the dead have one.
    assert world[new].shield[world.rows_of(ROCK)].tolist() == [0] * 8
    assert int(world[new].shield.astype(np.int64).sum()) == 50


def test_a_field_is_removed_and_one_is_renamed():
    new = component("Health", points=column(np.int16))
    archetypes = (Archetype("man", Place, new, Aim), ROCK, Archetype("wolf", Place, new))

    def change(saved):
        saved.remove_field("Health", "kept")
        saved.rename_field("Health", "hp", "points")

    world = migrated(change, (Place, new, Aim), archetypes)
    assert values(world, new, "points", archetypes[0]) == [7, 8]


def test_a_field_is_retyped_where_nothing_is_lost():
    new = component("Health", hp=column(np.int32), kept=column(np.uint8))
    archetypes = (Archetype("man", Place, new, Aim), ROCK, Archetype("wolf", Place, new))
    world = migrated(lambda saved: saved.retype_field("Health", "hp", np.int32), (Place, new, Aim), archetypes)
    assert world[new].hp.dtype == np.int32
    assert values(world, new, "hp", archetypes[2]) == [300, 301, 302]


def test_a_field_that_would_lose_values_wants_a_conversion():
    new = component("Health", hp=column(np.uint8), kept=column(np.uint8))
    archetypes = (Archetype("man", Place, new, Aim), ROCK, Archetype("wolf", Place, new))
    with pytest.raises(MigrationError, match="300"):
        migrated(lambda saved: saved.retype_field("Health", "hp", np.uint8), (Place, new, Aim), archetypes)

    def change(saved):
        saved.retype_field("Health", "hp", np.uint8, lambda hp: np.minimum(hp, 255).astype(np.uint8))

    world = migrated(change, (Place, new, Aim), archetypes)
    assert values(world, new, "hp", archetypes[2]) == [255, 255, 255]
    with pytest.raises(MigrationError, match="convert made"):
        migrated(lambda saved: saved.retype_field("Health", "hp", np.uint8, lambda hp: hp[:3]))


def test_a_component_is_added_to_one_archetype_and_another_is_removed():
    new = component("Hunger", level=column(np.float32, default=0.5))
    archetypes = (Archetype("man", Place, Health), ROCK, Archetype("wolf", Place, Health, new))

    def change(saved):
        saved.remove_component("Aim")
        saved.add_field("Hunger", "level", np.float32)
        saved.fill("Hunger", "level", 0.25, "wolf")

    world = migrated(change, (Place, Health, new), archetypes)
    assert values(world, new, "level", archetypes[2]) == [0.25] * 3
    assert not world[new].level[world.rows_of(archetypes[0])].any()


def test_a_component_is_renamed_with_all_its_fields():
    new = component("Body", hp=column(np.int16), kept=column(np.uint8))
    archetypes = (Archetype("man", Place, new, Aim), ROCK, Archetype("wolf", Place, new))
    world = migrated(lambda saved: saved.rename_component("Health", "Body"), (Place, new, Aim), archetypes)
    assert values(world, new, "kept", archetypes[0]) == [4, 4]


def test_archetypes_are_added_renamed_and_put_in_another_order():
    tree, boulder = Archetype("tree", Place), Archetype("boulder", Place)

    def change(saved):
        saved.add_archetype("tree")
        saved.rename_archetype("rock", "boulder")
        assert saved.archetypes == ("man", "boulder", "wolf", "tree")

    world = migrated(change, COMPONENTS, (tree, WOLF, boulder, MAN))
    assert [world.rows_of(a).size for a in (tree, WOLF, boulder, MAN)] == [0, 3, 8, 2]
    assert values(world, Health, "hp", WOLF) == [300, 301, 302]


def test_an_archetype_goes_with_its_entities_or_they_become_another():
    world = migrated(lambda saved: saved.remove_archetype("wolf"), COMPONENTS, (MAN, ROCK))
    assert (world.count, world.rows_of(ROCK).size) == (10, 8)
    assert not world[Health].hp[11:14].any()
    # Their rows are free, behind the one that was, and may be lived in again.
    rest = world.spawn(ROCK, 64 - 10)
    assert {2, 11, 12, 13} <= set(rest.tolist())
    world = migrated(lambda saved: saved.remove_archetype("wolf", become="man"), COMPONENTS, (MAN, ROCK))
    assert values(world, Health, "hp", MAN) == [7, 8, 300, 301, 302]


def test_entities_of_an_archetype_that_is_gone_are_not_forgotten_silently():
    with pytest.raises(MigrationError, match="wolf"):
        migrated(lambda saved: None, COMPONENTS, (MAN, ROCK))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda saved: saved.remove_field("Health", "mana"), "no Health.mana"),
        (lambda saved: saved.rename_field("Health", "hp", "kept"), "there already"),
        (lambda saved: saved.add_field("Health", "hp", np.int16), "there already"),
        (lambda saved: saved.remove_component("Mana"), "no component Mana"),
        (lambda saved: saved.rename_archetype("cow", "ox"), "no archetype cow"),
        (lambda saved: saved.rename_archetype("rock", "man"), "there already"),
        (lambda saved: saved.add_archetype("man"), "there already"),
        (lambda saved: saved.remove_field("Health", "hp"), "Health.hp is declared"),
        (lambda saved: saved.add_field("Health", "more", np.int16), "Health.more is not declared"),
        (lambda saved: saved.retype_field("Health", "hp", np.int64), "int64"),
        (lambda saved: saved.column("Health", "hp")[999], "failed"),
    ],
)
def test_a_migration_that_cannot_be_is_refused_in_words(change, reason):
    with pytest.raises(MigrationError, match=reason):
        migrated(change)


def test_entities_that_a_migration_ends_leave_their_rows_clean():
    def change(saved):
        saved.despawn(saved.rows("man"))

    world = migrated(change)
    assert world.rows_of(MAN).size == 0
    assert not world.owner.any()
    assert not world[Aim].past.any()


def test_the_numbers_of_ended_entities_are_forgotten():
    elsewhere = World(COMPONENTS, ARCHETYPES, 64, BOUNDS, region=5)
    world = played()
    rows = np.array([*elsewhere.spawn(MAN), *elsewhere.spawn(WOLF)])
    ids = elsewhere.id_of(rows)
    world.insert(elsewhere.extract(rows))
    made = migrated(lambda saved: saved.despawn(saved.rows("man")), world=world)
    assert (made.rows_by_id(ids) >= 0).tolist() == [False, True]


# -- entities on their way -----------------------------------------------------------------


def test_entities_on_their_way_are_migrated_like_a_world():
    world = played()
    wolves, rocks = world.rows_of(WOLF), world.rows_of(ROCK)
    rows = np.array([rocks[0], wolves[1], rocks[3]])
    arrays = world.extract(rows)
    assert not len(arrays["Aim.past"]), "nobody has it"

    def change(saved):
        saved.rename_field("Health", "hp", "points")
        saved.add_field("Aim", "steady", np.uint8, default=1)
        saved.despawn(saved.rows("rock")[-1:])

    health = component("Health", points=column(np.int16), kept=column(np.uint8))
    aim = component("Aim", past=column(np.float32, shape=(2,)), steady=column(np.uint8))
    man, rock, wolf = Archetype("man", Place, health, aim), Archetype("rock", Place), Archetype("wolf", Place, health)
    parts = ((Place, health, aim), (wolf, man, rock))
    moved = migrate_entities(arrays, ["man", "rock", "wolf"], [change], *parts)
    made = make(*parts)
    arrived = made.insert(moved)
    assert made.is_a(arrived, rock).tolist() == [True, False]
    assert made.is_a(arrived, wolf).tolist() == [False, True]
    assert made[health].points[arrived].tolist() == [0, 301]
    assert made[Place].x[arrived].tolist() == world[Place].x[rows[:2]].tolist()
    assert made.id_of(arrived).tolist() == world.id_of(rows[:2]).tolist()


# -- from version to version ---------------------------------------------------------------


def to_4(saved: Saved) -> None:
    saved.rename_field("Health", "hp", "points")


def to_3(saved: Saved) -> None:
    saved.rename_field("Health", "points", "hp")


def to_6(saved: Saved) -> None:
    saved.retype_field("Health", "points", np.int32)


STEPS = (Migration(4, 6, to_6), Migration(3, 4, to_4, back=to_3))


def test_the_way_leads_over_every_version_between():
    assert path(STEPS, 3, 6) == [to_4, to_6]
    assert path(STEPS, 4, 3) == [to_3]
    assert path(STEPS, 5, 5) == []


@pytest.mark.parametrize(("old", "new"), [(2, 6), (3, 5), (6, 4), (3, 7), (7, 3), (4, 2)])
def test_an_unknown_version_is_refused_by_number(old, new):
    with pytest.raises(MigrationError, match=f"of version {old}"):
        path(STEPS, old, new)


def test_there_and_back_is_the_same_world():
    world = migrated(lambda saved: (to_4(saved), to_3(saved)))
    assert world.digest() == played().digest()


def test_a_migration_leads_upwards():
    with pytest.raises(DeclarationError):
        Migration(4, 4, to_4)


def test_what_is_no_capture_is_refused():
    with pytest.raises(MigrationError, match="not a captured world"):
        migrate({}, [], COMPONENTS, ARCHETYPES)


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        (2, 2, True),
        (2, 3, True),
        (3, 2, True),
        (3, 4, False),
        (2, 4, False),
        (4, 5, True),
        (5, 4, False),
        (9, 5, False),
    ],
)
def test_mail_holds_between_versions_where_every_step_says_so(old, new, same):
    steps = (
        Migration(2, 3, to_4, to_3, same_mail=True),
        Migration(3, 4, to_4, to_3),
        Migration(4, 5, to_4, same_mail=True),
    )
    assert same_mail(steps, old, new) is same
