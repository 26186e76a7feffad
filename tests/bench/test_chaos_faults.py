"""`bench chaos` finds what is broken on purpose, and as what it is."""

import pytest

from tests.bench.test_crash import tried


@pytest.mark.usefixtures("mongodb", "redis")
@pytest.mark.parametrize(("plant", "found", "not_found"), [("early", "lost", "doubled"), ("forget", "doubled", "lost")])
def test_a_broken_promise_is_found(plant: str, found: str, not_found: str, tmp_path):
    # A node that has just come back may have no region, and what it ran nothing under way: some kills meet both.
    words = ["--minutes", "0.25", "--nodes", "2", "--gateways", "1", "--rows", "1", "--tellers", "4", "--rate", "60"]
    for attempt in range(6):
        data = tmp_path / str(attempt)
        data.mkdir()
        more = ["--only", "node_killed", "--plant", plant, "--data", str(data)]
        status, figures, _ = tried("chaos", *words, *more)
        if status:
            break
    assert figures[found] > 0
    assert figures[not_found] == 0
    assert figures["violations"] >= figures[found]
