"""Pauses at borders beside those of everyone else at the same time."""

from bench.pauses import Crossing, Step, crossings

TICK_S = 0.05


def walk(*ends: float, crossed: tuple[int, ...] = ()) -> list[Step]:
    """Steps that end at these ticks, the first from tick 0; those of these places go over a border."""
    begins = (0.0, *ends[:-1])
    return [
        Step(a * TICK_S, b * TICK_S, b - a - 1.0, n in crossed)
        for n, (a, b) in enumerate(zip(begins, ends, strict=True))
    ]


def test_a_crossing_alone_waits_alone():
    players = [walk(1, 2, 5, 6, crossed=(2,)), walk(1, 2, 3, 4, 5, 6), walk(1, 2, 3, 4, 5, 6)]
    (crossing,) = crossings(players)
    assert crossing.waited == players[0][2].waited
    assert crossing.others == 0.0


def test_a_stall_that_everyone_meets_is_the_others_too():
    stalled = walk(1, 2, 10, 11)
    (crossing,) = crossings([walk(1, 2, 11, 12, crossed=(2,)), stalled, stalled, walk(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)])
    assert crossing == Crossing(8.0, 7.0)


def test_a_stall_before_or_after_counts_for_nothing():
    late = walk(9, 10, 11, 12, 13, 22)
    ((waited, others),) = crossings([walk(9, 10, 12, 13, crossed=(2,)), late, late])
    assert (waited, others) == (1.0, 0.0)


def test_others_who_cross_as_well_are_not_compared_with():
    both = [walk(1, 2, 5, crossed=(2,)), walk(1, 2, 6, crossed=(2,))]
    assert crossings(both) == [Crossing(2.0, 0.0), Crossing(3.0, 0.0)]
    plain = walk(1, 2, 3, 5, 6)
    assert [crossing.others for crossing in crossings([*both, plain])] == [1.0, 1.0]


def test_one_who_plays_alone_is_compared_with_nobody():
    assert crossings([walk(1, 3, crossed=(1,))]) == [Crossing(1.0, 0.0)]
    assert crossings([]) == []
