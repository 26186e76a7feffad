"""The comparison with the world: a right view passes, and every way of being wrong is found."""

import numpy as np
import pytest

from bench.crowd_game import GAME, SCALE
from bench.truth import compare

RECORD = GAME.schema.record_dtype(0, "u16")
EDGE = 320.0
TICK = 40


@pytest.fixture
def world():
    rng = np.random.default_rng(7)
    n = 60
    return {
        "rows": np.arange(n),
        "x": rng.uniform(0, EDGE, n).astype(np.float32),
        "y": rng.uniform(0, EDGE, n).astype(np.float32),
        "mark": rng.integers(0, 256, n).astype(np.uint8),
    }


def view(world, own, centre=None):
    column, row = (world["x"] // 32).astype(int), (world["y"] // 32).astype(int)
    at = centre or (column[own], row[own])
    near = np.flatnonzero((abs(column - at[0]) <= 2) & (abs(row - at[1]) <= 2))
    shown = np.zeros(near.size, RECORD)
    shown["handle"] = near
    shown["Position.x"] = np.floor(world["x"][near] / SCALE + 0.5)
    shown["Position.y"] = np.floor(world["y"][near] / SCALE + 0.5)
    shown["Mark.value"] = world["mark"][near]
    return shown


def compared(tmp_path, world, shown, own, tick=TICK):
    np.savez(tmp_path / "truth.npz", **{f"{k}_{TICK}": v for k, v in world.items()})
    np.savez(
        tmp_path / "photographs.npz",
        client=[1],
        tick=[tick],
        handle=[own],
        size=[shown.nbytes],
        records=np.frombuffer(shown.tobytes(), np.uint8),
    )
    return compare(tmp_path / "photographs.npz", tmp_path / "truth.npz", EDGE, 4.0)


def test_every_right_view_passes(tmp_path, world):
    for own in range(60):
        assert compared(tmp_path, world, view(world, own), own) == (1, [])


def test_a_view_may_stay_with_the_cell_just_left(tmp_path, world):
    world["x"][0], world["y"][0] = 128.0 + 4.0, 100.0
    assert compared(tmp_path, world, view(world, 0, centre=(3, 3)), 0) == (1, [])
    # Past the hysteresis it may not.
    world["x"][0] += 1 / 16
    assert compared(tmp_path, world, view(world, 0, centre=(3, 3)), 0)[1]


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda shown: shown[1:], "1 missing"),
        (lambda shown: np.concatenate([shown, np.array([(65_000, 1, 2, 3)], RECORD)]), "1 too many"),
        (lambda shown: _with(shown, "Mark.value"), "with other values"),
        (lambda shown: _with(shown, "Position.x"), "with other values"),
    ],
)
def test_every_wrong_view_is_found(tmp_path, world, spoil, what):
    number, faults = compared(tmp_path, world, spoil(view(world, 5)), 5)
    assert number == 1
    assert what in faults[0]


def test_one_who_sees_everyone_sees_too_much(tmp_path, world):
    world["x"][0], world["y"][0] = 16.0, 16.0
    everyone = view(world, 0)
    others = view(world, 0, centre=(7, 7))
    shown = np.unique(np.concatenate([everyone, others]))
    assert "too many" in compared(tmp_path, world, shown, 0)[1][0]


def test_an_entity_that_is_nowhere_is_a_fault(tmp_path, world):
    assert "not in the world" in compared(tmp_path, world, view(world, 5), 999)[1][0]


def test_a_tick_without_truth_is_not_compared(tmp_path, world):
    assert compared(tmp_path, world, view(world, 5), 5, tick=41) == (0, [])


def _with(shown, field):
    changed = shown.copy()
    changed[field][0] += 1
    return changed
