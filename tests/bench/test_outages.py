"""The store is taken away, a few times: the server lives on, and nothing is lost."""

import json

import pytest

from tests.bench.test_crash import bench


@pytest.mark.usefixtures("mongodb")
def test_nothing_acknowledged_is_lost_and_nothing_is_doubled(tmp_path):
    # A seed whose first outages are of many kinds.
    figures = bench("outages", "--outages", "5", "--seed", "5", "--data", str(tmp_path), status=0)
    assert figures["outages"] == 5
    assert figures["lost"] == figures["doubled"] == figures["digest_mismatches"] == 0
    assert figures["acknowledged"] > 100
    assert figures["digests_checked"] > 0
    kinds = [figures[key] for key in figures if key.startswith("outages_")]
    assert sum(kinds) == 5
    assert len([n for n in kinds if n]) >= 3
    # Only what has reached most disks may be acknowledged.
    assert [json.loads(concern) | {"wtimeout": 0} for concern in figures["write_concerns"]] == [
        {"w": "majority", "j": True, "wtimeout": 0}
    ]
