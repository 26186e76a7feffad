"""Who should run what."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from server.regions.balance import Move, NodeLoad, claims, fair_share, moves, preference, standby

names = st.lists(st.sampled_from("abcdefgh"), min_size=1, unique=True)
shards = st.integers(1, 40).map(lambda n: list(range(1, n + 1)))


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


@given(names, shards, st.data())
def test_moves_end_and_leave_all_even(names, shards, data):
    nodes = [NodeLoad(name) for name in names]
    holders = {s: data.draw(st.sampled_from(names)) for s in shards}
    for _ in range(len(shards)):
        planned = moves(shards, holders, nodes)
        if not planned:
            break
        assert holders[planned[0].shard] == planned[0].source != planned[0].target
        holders[planned[0].shard] = planned[0].target
    counts = Counter(dict.fromkeys(names, 0)) + Counter(holders.values())
    each = [counts[name] for name in names]
    assert max(each) - min(each) <= 1
    assert not moves(shards, holders, nodes)


def test_a_draining_nodes_shards_go_first_and_to_those_who_have_least():
    nodes = [NodeLoad("a", draining=True), NodeLoad("b"), NodeLoad("c")]
    holders = {1: "a", 2: "b", 3: "b", 4: "a"}
    planned = moves([1, 2, 3, 4], holders, nodes, moves_max=2)
    assert planned == [Move(1, "a", "c"), Move(4, "a", "c")]
    assert moves([1], {1: "a"}, [nodes[0]]) == []


@given(names, st.integers(1, 100))
def test_a_standby_is_another_node_and_the_same_whoever_asks(names, shard):
    nodes = [NodeLoad(name) for name in names]
    chosen = standby(shard, names[0], nodes)
    assert chosen != names[0]
    assert (chosen is None) == (len(names) == 1)
    assert standby(shard, names[0], nodes[::-1]) == chosen


@given(names, st.integers(1, 100))
def test_a_node_that_goes_changes_no_ones_order_but_its_own_place(names, shard):
    before = preference(shard, names)
    assert preference(shard, names[1:]) == [name for name in before if name != names[0]]
