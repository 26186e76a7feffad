"""The circuit breaker: when to try, and when not."""

from random import Random

import pytest

from server.bus.circuit import Circuit, CircuitState


def test_it_is_closed_until_a_failure_open_for_a_while_and_then_tried():
    circuit = Circuit(1.0, 8.0, Random(1))
    assert circuit.state(0.0) is CircuitState.CLOSED
    delay_s = circuit.failed(100.0)
    assert circuit.state(100.0 + delay_s * 0.99) is CircuitState.OPEN
    assert circuit.state(100.0 + delay_s) is CircuitState.HALF_OPEN
    circuit.succeeded()
    assert circuit.state(100.0) is CircuitState.CLOSED


@pytest.mark.parametrize("seed", range(20))
def test_delays_double_up_to_the_most_with_jitter_and_begin_anew_after_a_success(seed):
    circuit = Circuit(1.0, 8.0, Random(seed))
    delays = [circuit.failed(0.0) for _ in range(2000)]
    for n, delay_s in enumerate(delays):
        whole = min(8.0, 2.0 ** min(n, 30))
        assert whole / 2 <= delay_s <= whole
    assert len(set(delays[3:])) > 1900
    circuit.succeeded()
    assert circuit.failed(0.0) <= 1.0
