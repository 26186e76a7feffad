"""A crash at every step of a handoff: a small part of the matrix, and that it finds what is to be found."""

from tests.simulator.matrix import CELLS, handoff_of, meet
from tests.simulator.steps import STEPS
from tests.simulator.test_simulate import simulator


def test_a_handoff_of_a_player_has_every_step_in_its_process():
    handoff = handoff_of(5)
    assert handoff.passengers
    assert handoff.source != handoff.destination
    whose = [getattr(handoff, name.split()[0]) for name in STEPS]
    assert [effect.process for effect in handoff.effects] == whose
    assert [e.what for e in handoff.effects] == [
        *("append", "sync", "publish", "publish", "receive", "append", "sync", "publish", "publish", "receive"),
        *("append", "sync"),
    ]


def test_who_crosses_survives_a_crash_at_any_step():
    # Every step, before and after, and each victim several times; the whole of it is a command.
    met = meet(5, CELLS[::5])
    assert all(m.sprung for m in met)
    assert [m for m in met if m.violation or m.lost or m.doubled] == []


def test_the_matrix_finds_mail_that_is_acknowledged_too_early():
    status, said = simulator("matrix", "--count", "1", "--plant", "mail is acknowledged when it comes")
    assert status == 1
    assert "destination" in said
