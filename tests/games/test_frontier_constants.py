"""Time on the frontier follows from the world's clock alone."""

import pytest

from games.frontier.constants import DAY_S, DAYLIGHT_FRACTION, is_night, ticks
from server.sim import Tick


@pytest.mark.parametrize(
    ("seconds", "rate_hz", "expected"), [(1, 20, 20), (0.4, 20, 8), (0.001, 20, 1), (10, 60, 600), (0.5, 1, 1)]
)
def test_seconds_in_ticks(seconds, rate_hz, expected):
    assert ticks(seconds, Tick(1, 1 / rate_hz, 0, {})) == expected


@pytest.mark.parametrize("rate_hz", [1, 20, 60])
@pytest.mark.parametrize("day", [0, 1, 7])
def test_night_falls_once_a_day(day, rate_hz):
    hours = [(0.0, False), (DAYLIGHT_FRACTION - 0.01, False), (DAYLIGHT_FRACTION + 0.01, True), (0.99, True)]
    for hour, night in hours:
        number = round((day + hour) * DAY_S * rate_hz)
        assert is_night(Tick(number, 1 / rate_hz, 0, {})) == night
        # In a region that slept for most of it, too.
        assert is_night(Tick(number // 3, 1 / rate_hz, 0, {}, ahead=number - number // 3)) == night
