"""`bench chaos` finds what is broken on purpose, and as what it is."""

import pytest

from tests.bench.test_crash import bench


@pytest.mark.usefixtures("mongodb", "redis")
@pytest.mark.parametrize(("plant", "found", "not_found"), [("early", "lost", "doubled"), ("forget", "doubled", "lost")])
def test_a_broken_promise_is_found(plant: str, found: str, not_found: str, tmp_path):
    # A node that has just come back may have no region: of so many kills some meet one that has.
    words = ["--minutes", "0.25", "--nodes", "2", "--gateways", "1", "--rows", "1", "--tellers", "4", "--rate", "60"]
    only = ["--only", "node_killed"]
    figures = bench("chaos", *words, *only, "--plant", plant, "--data", str(tmp_path), status=1, load=())
    assert figures[found] > 0
    assert figures[not_found] == 0
    assert figures["violations"] >= figures[found]
