"""Damaged files of a data directory: a state that was, or a refusal that names the damage."""

import asyncio
import copy

import pytest

from bench.store_damage import LOG_NAME, RECORDS, SHARDS, cut, judge, lay_out, write
from bench.store_damage_run import CUT_BYTES, Damage, Plan, attempt, scratch
from server.store.sqlite_file import FILE_NAME


@pytest.fixture(scope="module")
def life():
    with scratch() as directory:
        return asyncio.run(write(directory))


@pytest.fixture
def written(life):
    """A copy that a test may change."""
    return copy.deepcopy(life)


@pytest.fixture
def data():
    with scratch() as directory:
        yield directory / "data"


@pytest.mark.parametrize("left", ["killed", "stopped"])
async def test_what_is_not_damaged_is_whole(written, data, left):
    lay_out(data, written.left[left])
    outcome = await judge(data, written)
    last = [written.records[shard][-1].tick for shard in SHARDS]
    assert (outcome.kind, outcome.words) == ("whole", ", ".join(f"tick {tick} of {tick}" for tick in last))


async def test_what_a_kill_leaves_is_worth_damaging(written):
    killed, stopped = written.left["killed"], written.left["stopped"]
    assert len(killed[LOG_NAME]) > CUT_BYTES
    assert len(stopped[FILE_NAME]) > CUT_BYTES
    assert sum(name.endswith(".checkpoint") for name in killed) == 4
    assert all(len(records) == RECORDS for records in written.records.values())
    # A record that takes several pages, and one that takes next to nothing.
    sizes = [len(record.payload) for records in written.records.values() for record in records]
    assert max(sizes) > 2000
    assert min(sizes) < 100


async def test_a_log_cut_anywhere_is_the_exact_prefix(written, data):
    """Wherever it ends: no refusal, for a kill leaves just that, and as many records as the log has whole commits."""
    log = written.left["killed"][LOG_NAME]
    before = -1
    for at in range(len(log) - CUT_BYTES, len(log), 1999):
        outcome = await attempt(data, written, Damage("cut", "killed", LOG_NAME, at))
        assert outcome.kind == "prefix", f"cut at {at}: {outcome}"
        ticks = sum(int(part.split()[1]) for part in outcome.words.split(", "))
        assert ticks >= before
        before = ticks


@pytest.mark.parametrize("seed", range(6))
async def test_no_damage_makes_another_state(written, data, seed):
    outcomes = {}
    for damage in Plan(cuts=12, flips=18, sectors=6, seed=seed).damages(written):
        outcome = await attempt(data, written, damage)
        assert outcome.kind in ("whole", "prefix", "refused"), f"{damage}: {outcome}"
        outcomes.setdefault(outcome.kind, []).append(damage)
    assert len(outcomes) > 1


async def test_a_plan_of_everything_has_every_byte_once(written):
    plan = list(Plan(cuts=None, flips=0, sectors=None).damages(written))
    assert len(set(plan)) == len(plan)
    files = [("killed", name) for name in written.left["killed"]] + [("stopped", FILE_NAME)]
    for left, name in files:
        n = len(written.left[left][name])
        cuts = [d.at for d in plan if (d.kind, d.left, d.name) == ("cut", left, name)]
        assert cuts == list(range(max(0, n - CUT_BYTES), n))
        assert len([d for d in plan if (d.kind, d.left, d.name) == ("blank", left, name)]) == -(-n // 512)


async def test_a_seed_repeats_its_damages(written):
    plan = Plan(cuts=5, flips=5, sectors=5, seed=3)
    assert list(plan.damages(written)) == list(plan.damages(written))
    assert list(plan.damages(written)) != list(Plan(cuts=5, flips=5, sectors=5, seed=4).damages(written))


async def test_another_record_or_another_state_would_be_called_divergence(written, data):
    """That the judge can say so."""
    lay_out(data, written.left["killed"])
    records = written.records[SHARDS[0]]
    records[7], right = records[8], records[7]
    assert (await judge(data, written)).kind == "diverged"
    records[7] = right
    lay_out(data, written.left["killed"])
    written.digests[SHARDS[1]][written.records[SHARDS[1]][-1].tick] ^= 1
    assert (await judge(data, written)).kind == "diverged"


async def test_a_file_cut_short_is_refused_by_name(written, data):
    stopped = written.left["stopped"]
    lay_out(data, {**stopped, FILE_NAME: cut(stopped[FILE_NAME], len(stopped[FILE_NAME]) * 2 // 3)})
    outcome = await judge(data, written)
    assert outcome.kind == "refused"
    assert FILE_NAME in outcome.words


async def test_a_file_that_lost_the_end_of_its_last_page_is_whole_or_refused(written, data):
    """SQLite reads what is missing as zeros: a row of nothing, in the middle of the others."""
    size = len(written.left["stopped"][FILE_NAME])
    for at in range(size - 700, size, 9):
        outcome = await attempt(data, written, Damage("cut", "stopped", FILE_NAME, at))
        assert outcome.kind in ("whole", "refused"), f"cut at {at}: {outcome}"


@pytest.mark.parametrize("name", [FILE_NAME, LOG_NAME])
async def test_something_else_under_the_name_is_no_journal(written, data, name):
    files = {**written.left["killed"], name: b"Dear diary, " * 1000}
    if name == FILE_NAME:
        del files[LOG_NAME]
    lay_out(data, files)
    outcome = await judge(data, written)
    assert outcome.kind == "refused" if name == FILE_NAME else outcome.kind != "diverged"
