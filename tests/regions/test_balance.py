"""Who should run what."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.regions.balance import (
    Divide,
    NodeLoad,
    Patience,
    Policy,
    ShardLoad,
    claims,
    divisions,
    fair_share,
    moves,
    plan,
    preference,
    standby,
)

names = st.lists(st.sampled_from("abcdefgh"), min_size=1, unique=True)
shards = st.integers(1, 40).map(lambda n: list(range(1, n + 1)))
loads = st.one_of(st.just(0.0), st.floats(0.0, 1.2), st.floats(0.0, 0.02))


def cluster(holders, load, *, extra=(), draining=(), unmeasured=(), **told):
    """Nodes as they announce what they hold. `load`: by shard; `extra`: nodes that hold nothing."""
    owners = sorted({*holders.values(), *extra})
    return [
        NodeLoad(
            name,
            draining=name in draining,
            shards=tuple(
                ShardLoad(s, None if s in unmeasured else load.get(s, 0.0), **told.get(f"s{s}", {}))
                for s in sorted(holders)
                if holders[s] == name
            ),
        )
        for name in owners
    ]


def total(holders, load, names):
    return {name: sum(load[s] for s, holder in holders.items() if holder == name) for name in names}


@given(names, shards)
def test_all_nodes_together_claim_every_free_shard_once_and_evenly(names, shards):
    nodes = [NodeLoad(name) for name in names]
    claimed = {name: claims(name, shards, {}, nodes) for name in names}
    assert sorted(s for mine in claimed.values() for s in mine) == shards
    assert max(map(len, claimed.values())) <= fair_share(len(shards), len(names))


@given(names, shards, st.data())
def test_what_is_held_is_nobodys_to_claim_and_what_is_free_goes_where_there_is_room(names, shards, data):
    nodes = [NodeLoad(name) for name in names]
    # Some by nodes that announce themselves no more: their leases stand all the same.
    holders = data.draw(st.dictionaries(st.sampled_from(shards), st.sampled_from([*names, "gone"])))
    claimed = [s for name in names for s in claims(name, shards, holders, nodes)]
    assert len(set(claimed)) == len(claimed)
    assert not set(claimed) & set(holders)
    room = sum(max(0, fair_share(len(shards), len(names)) - list(holders.values()).count(n)) for n in names)
    assert len(claimed) == min(room, len(shards) - len(holders))


def test_a_draining_or_unknown_node_claims_nothing():
    nodes = [NodeLoad("a", draining=True), NodeLoad("b")]
    assert claims("a", [1, 2], {}, nodes) == []
    assert claims("c", [1, 2], {}, nodes) == []
    assert claims("b", [1, 2], {}, nodes) == [1, 2]


def carry_out(move, holders):
    assert holders[move.shard] == move.source != move.target
    holders[move.shard] = move.target


# -- moves -----------------------------------------------------------------------------------


@given(names, shards, st.data())
def test_where_nothing_is_to_do_the_shards_are_counted(names, shards, data):
    holders = {s: data.draw(st.sampled_from(names)) for s in shards}
    for _ in range(len(shards)):
        planned = moves(shards, holders, cluster(holders, {}, extra=names))
        if not planned:
            break
        carry_out(planned[0], holders)
    counts = Counter(dict.fromkeys(names, 0)) + Counter(holders.values())
    each = [counts[name] for name in names]
    assert max(each) - min(each) <= 1
    assert not moves(shards, holders, cluster(holders, {}, extra=names))


@given(names, st.lists(loads, min_size=1, max_size=24), st.data())
def test_moves_end_and_each_takes_something_off_the_one_that_had_more(names, drawn, data):
    load = dict(enumerate(drawn, 1))
    # A shard weighs something beside its load: where nothing is to do, two that have a little may come together.
    weight = {s: one + 0.005 for s, one in load.items()}
    holders = {s: data.draw(st.sampled_from(names)) for s in load}
    made = 0
    while planned := moves(list(load), holders, cluster(holders, load, extra=names)):
        before = total(holders, weight, names)
        carry_out(planned[0], holders)
        after = total(holders, weight, names)
        two = (planned[0].source, planned[0].target)
        assert max(after[n] for n in two) < max(before[n] for n in two)
        made += 1
        assert made <= len(load) * len(names), "there and back"
    # Nothing that matters is left: no shard whose move would take a tenth off a node that has a quarter more.
    rest = total(holders, load, names)
    for shard, source in holders.items():
        for target in names:
            if rest[source] > 0.3 and rest[source] - rest[target] > 0.3 * rest[source] + 0.01 * len(load):
                gained = rest[source] - max(rest[source] - load[shard], rest[target] + load[shard])
                assert gained <= 0.1 * rest[source] + 0.01 * len(load)


@given(names, st.lists(loads, min_size=1, max_size=24), st.data())
def test_a_plan_is_what_the_nodes_would_do_one_by_one(names, drawn, data):
    load = dict(enumerate(drawn, 1))
    holders = {s: data.draw(st.sampled_from(names)) for s in load}
    planned = plan(list(load), holders, cluster(holders, load, extra=names), Policy(), {}).moves
    assert len({move.shard for move in planned}) == len(planned), "each once"
    assert all(move.reason for move in planned)
    for move in planned:
        first = moves(list(load), holders, cluster(holders, load, extra=names))
        if first[0].shard in {m.shard for m in planned[: planned.index(move)]}:
            break
        assert first == [move]
        carry_out(move, holders)


@pytest.mark.parametrize("seed", range(20))
def test_loads_that_are_measured_a_little_wrong_each_time_move_nothing_there_and_back(seed):
    chance = random.Random(seed)
    names = "abcd"[: chance.randrange(2, 5)]
    load = {s: chance.choice((0.001, 0.02, 0.1, 0.3)) * chance.uniform(0.5, 1.5) for s in range(1, 17)}
    holders = {s: chance.choice(names) for s in load}
    history = {s: [holder] for s, holder in holders.items()}
    last = 0
    for turn in range(400):
        seen = {s: one * chance.uniform(0.95, 1.05) for s, one in load.items()}
        for move in moves(list(load), holders, cluster(holders, seen, extra=names)):
            carry_out(move, holders)
            history[move.shard].append(move.target)
            last = turn
    assert last < 60, "it settles"
    assert sum(len(nodes) - 1 for nodes in history.values()) <= 2 * len(load)
    assert all(len(set(nodes)) == len(nodes) for nodes in history.values()), "nothing comes back to where it was"


def test_a_difference_that_does_not_matter_moves_nothing_and_one_that_does_moves_what_helps_most():
    load = {1: 0.4, 2: 0.1, 3: 0.1, 4: 0.45}
    holders = {1: "a", 2: "a", 3: "a", 4: "b"}
    # 0.6 and 0.45: just a quarter of the larger.
    nodes = cluster(holders, {**load, 4: 0.47})
    assert moves(list(load), holders, nodes) == []
    nodes = cluster(holders, {**load, 1: 0.7})
    (move,) = moves(list(load), holders, nodes)
    assert (move.shard, move.source, move.target) in {(2, "a", "b"), (3, "a", "b")}
    assert move.reason == "90% of a's time is in use and 45% of b's: 80% and 55% then"


def test_one_shard_that_is_all_the_load_is_not_carried_from_node_to_node():
    holders = {1: "a", 2: "b"}
    assert moves([1, 2], holders, cluster(holders, {1: 0.9}, extra="abc")) == []
    # What lies beside it is parted from it, and that is all.
    holders = {1: "a", 2: "a", 3: "a"}
    planned = moves([1, 2, 3], holders, cluster(holders, {1: 0.9, 2: 0.2, 3: 0.2}, extra="ab"), moves_max=3)
    assert [move.shard for move in planned] == [1]


def test_of_equal_shards_the_one_with_few_players_goes():
    holders = {1: "a", 2: "a", 3: "a"}
    crowds = {"s1": {"players": 9}, "s2": {"players": 2}, "s3": {"players": 30}}
    nodes = cluster(holders, {1: 0.3, 2: 0.3, 3: 0.3}, extra="ab", **crowds)
    assert [move.shard for move in moves([1, 2, 3], holders, nodes)] == [2]


def test_a_node_with_a_shard_that_is_not_measured_yet_rests():
    holders = {1: "a", 2: "a", 3: "a", 4: "b", 5: "c"}
    load = {1: 0.3, 2: 0.3, 3: 0.3}
    assert {m.target for m in moves(list(holders), holders, cluster(holders, load, unmeasured={4}))} == {"c"}
    assert moves(list(holders), holders, cluster(holders, load, unmeasured={4, 5})) == []
    assert moves(list(holders), holders, cluster(holders, load, unmeasured={2})) == []


def test_a_draining_nodes_shards_go_first_and_to_those_who_have_least_to_do():
    holders = {1: "a", 2: "b", 3: "b", 4: "a"}
    nodes = cluster(holders, {}, extra="abc", draining="a")
    planned = moves([1, 2, 3, 4], holders, nodes, moves_max=2)
    assert [(m.shard, m.source, m.target, m.reason) for m in planned] == [
        (1, "a", "c", "a drains"),
        (4, "a", "c", "a drains"),
    ]
    assert moves([1], {1: "a"}, nodes[:1]) == []
    # Not only their number counts; and who rests takes what it is given all the same.
    nodes = cluster(holders, {2: 0.0, 3: 0.01}, extra="abc", draining="a", unmeasured={2})
    assert {m.target for m in moves([1, 2, 3, 4], holders, nodes, moves_max=2)} == {"c"}
    holders = {1: "a", 2: "b", 3: "c", 4: "c"}
    nodes = cluster(holders, {2: 0.8, 3: 0.1, 4: 0.1}, draining="a")
    assert moves([1, 2, 3, 4], holders, nodes)[0].target == "c"


# -- divisions ---------------------------------------------------------------------------------

PARTS = {1: (11, 12, 13), 2: (21, 22, 23)}
EVERYWHERE = {1: "a", 11: "b", 12: "b", 13: "a", 2: "b", 21: "a", 22: "a", 23: "b"}


def wanted(load, *, divided=(), extra="ab", draining=(), unmeasured=(), policy=None, **told):
    for region in divided:
        told.setdefault(f"s{region}", {})["divided"] = True
    nodes = cluster(EVERYWHERE, load, extra=extra, draining=draining, unmeasured=unmeasured, **told)
    return [(d.shard, d.divide) for d in divisions(EVERYWHERE, nodes, policy or Policy(), PARTS)]


@pytest.mark.parametrize("part", PARTS[1])
def test_a_region_is_not_divided_while_nobody_runs_one_of_its_parts(part):
    held = {shard: name for shard, name in EVERYWHERE.items() if shard != part}
    for holders in (held, held | {part: "gone"}):
        assert divisions(holders, cluster(held, {1: 0.9}, extra="ab"), Policy(), PARTS) == []


def test_a_region_that_is_too_much_for_one_shard_is_divided_and_united_when_it_is_far_below():
    assert wanted({1: 0.59}) == []
    assert wanted({1: 0.6, 2: 0.7}) == [(1, True), (2, True)]
    assert wanted({1: 0.2, 11: 0.2, 12: 0.2}, divided=[1]) == []
    assert wanted({1: 0.1, 11: 0.1, 13: 0.01}, divided=[1]) == []
    assert wanted({1: 0.1, 11: 0.05, 13: 0.05}, divided=[1]) == [(1, False)]


def test_by_its_load_nothing_is_divided_where_no_other_node_could_take_a_part():
    assert wanted({1: 0.9}, draining="b") == []
    assert wanted({1: 0.0}, draining="b", s1={"entities": 60_000}) == [(1, True)]


def test_a_region_without_room_is_divided_and_not_united_before_all_have_plenty():
    policy = Policy(entities_max=1000, split_fill=0.8)
    assert wanted({}, s1={"entities": 799}, policy=policy) == []
    assert wanted({}, s1={"entities": 800}, policy=policy) == [(1, True)]
    assert wanted({}, s1={"entities": 300}, s12={"entities": 101}, divided=[1], policy=policy) == []
    assert wanted({}, s1={"entities": 300}, s12={"entities": 100}, divided=[1], policy=policy) == [(1, False)]


def test_what_is_not_measured_decides_nothing():
    assert wanted({1: 0.9}, unmeasured={1}) == []
    assert wanted({}, divided=[1], unmeasured={12}) == []
    assert wanted({1: 0.9}, unmeasured={12}) == [(1, True)]


@given(loads, st.lists(loads, min_size=3, max_size=3), st.integers(0, 1000), st.lists(st.integers(0, 1000), min_size=3))
def test_what_would_be_divided_whole_is_never_united_in_parts(own, others, entities, crowds):
    policy = Policy(entities_max=1000)
    told = {f"s{part}": {"entities": n} for part, n in zip(PARTS[1], crowds, strict=False)}
    load = {1: own, **dict(zip(PARTS[1], others, strict=True))}
    if (1, False) in wanted(load, divided=[1], s1={"entities": entities}, policy=policy, **told):
        whole, inhabitants = sum(load.values()), entities + sum(crowds[:3])
        assert wanted({1: whole}, s1={"entities": inhabitants}, policy=policy) == []


def test_a_plan_says_why_a_region_is_divided():
    nodes = cluster(EVERYWHERE, {1: 0.75}, s2={"divided": True})
    made = plan(list(EVERYWHERE), EVERYWHERE, nodes, Policy(), PARTS).divisions
    assert made == (
        Divide(1, divide=True, reason="its ticks take 75% of a node's time, of 60% at the most"),
        Divide(2, divide=False, reason="its ticks and its parts' take 0% of a node's time together"),
    )


def test_patience_lets_through_what_was_wanted_all_the_while():
    patience, this, other = Patience(30.0), Divide(1, divide=True, reason="why"), Divide(2, divide=True, reason="why")
    assert patience.ripe([this], 0.0) == []
    assert patience.ripe([this, other], 29.9) == []
    # The reason may change: it has numbers in it.
    assert patience.ripe([Divide(1, divide=True, reason="why not")], 30.0) == [Divide(1, divide=True, reason="why not")]
    assert patience.ripe([this], 31.0) == [this], "for as long as it is wanted"
    assert patience.ripe([], 32.0) == []
    assert patience.ripe([this, other], 33.0) == [], "it begins anew"
    assert patience.ripe([Divide(1, divide=False, reason="why"), other], 63.0) == [other]


# -- standing by -----------------------------------------------------------------------------


@given(names, st.integers(1, 100))
def test_a_standby_is_another_node_and_the_same_whoever_asks(names, shard):
    nodes = [NodeLoad(name) for name in names]
    chosen = standby(shard, names[0], nodes)
    assert chosen != names[0]
    assert (chosen is None) == (len(names) == 1)
    assert standby(shard, names[0], nodes[::-1]) == chosen


@given(names, st.integers(1, 100), st.data())
def test_a_standby_is_one_of_those_that_follow(names, shard, data):
    follow = data.draw(st.sets(st.sampled_from(names)))
    chosen = standby(shard, names[0], [NodeLoad(name, follows=name in follow) for name in names])
    assert chosen in follow - {names[0]} or (chosen is None and follow <= {names[0]})


@given(names, st.integers(1, 100))
def test_a_node_that_goes_changes_no_ones_order_but_its_own_place(names, shard):
    before = preference(shard, names)
    assert preference(shard, names[1:]) == [name for name in before if name != names[0]]
