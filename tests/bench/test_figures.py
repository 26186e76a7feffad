"""Percentiles, medians, the last line of a command, and what a server notes of its ticks."""

import json

import pytest

from bench.figures import hand_over, median_of, percentile
from bench.ticks import TickLog


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([], 99, 0.0), ([3.0], 50, 3.0), ([4, 1, 3, 2], 50, 2), ([4, 1, 3, 2], 99, 4), (range(1, 101), 99, 99)],
)
def test_percentile(values, percent, expected):
    assert percentile(list(values), percent) == expected


def test_medians_are_taken_key_by_key():
    runs = [{"n": 5, "us": 1.0, "why": ["a"]}, {"n": 7, "us": 9.0, "why": []}, {"n": 6, "us": 2.0, "why": []}]
    assert median_of(runs) == {"n": 6, "us": 2.0, "why": ["a"]}


def test_the_last_line_is_what_the_file_holds(tmp_path, capsys):
    path = tmp_path / "a" / "figures.json"
    hand_over({"us": 1.23456789, "n": 3}, path)
    assert json.loads(capsys.readouterr().out) == json.loads(path.read_text()) == {"us": 1.2346, "n": 3}


def test_a_tick_log_notes_from_start_to_stop():
    log = TickLog()
    log.note(0.0, 0.0, 0.5)
    log.start()
    for i in range(5):
        log.note(i * 0.05, i * 0.05 + 0.001, 0.01)
    said = log.stop()
    log.note(9.0, 9.0, 0.5)
    assert said["ticks"] == 5
    assert said["hz"] == pytest.approx(20)
    assert said["lateness_ms"] == [1.0] * 5
    assert said["took_ms"] == [10.0] * 5
    assert log.stop()["ticks"] == 5
