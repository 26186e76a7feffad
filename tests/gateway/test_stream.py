"""The core promise: whoever applies the bytes that a viewer is sent sees exactly what is there.

A world of dictionaries moves by whim; viewers walk, jump, come, go, lag and return. What their clients made of the
stream is compared, entity by entity and byte by byte, with what brute force says they must see.
"""

from __future__ import annotations

import pytest

from protocol.codec import decode_server, encode_event
from protocol.messages import Ack, Delta, Event, Keyframe, Receipt, ViewDigest
from server.gateway.fanout import websocket_frame
from server.gateway.interest import ViewSpec
from server.gateway.session import Happening, SessionState
from server.regions.frame import FrameEvent, RegionSpec
from tests.gateway.meadow import SCHEMA, Stage, Thing, Viewer, messages, seen

WHOLE = ViewSpec(16.0, 2, 2, 4, 2.0)
RINGED = ViewSpec(16.0, 1, 3, 4, 2.0)
POINT = ViewSpec(20.0, 0, 1, 3, 0.0)
WIDE = ViewSpec(100.0, 1, 1, 1, 50.0)
# Square, oblong, with an origin, with 32-bit handles, smaller than a view.
SQUARE = RegionSpec(1, 0.0, 0.0, 256.0, 256.0, 256)
OBLONG = RegionSpec(300, -1000.0, 512.0, 500.0, 90.0, 256)
VAST = RegionSpec(70_000, 0.5, -64.0, 200.0, 300.0, 70_000)
SMALL = RegionSpec(2, 0.0, 0.0, 20.0, 10.0, 256)

CASES = [
    (WHOLE, SQUARE),
    (RINGED, SQUARE),
    (RINGED, OBLONG),
    (POINT, OBLONG),
    (RINGED, VAST),
    (WHOLE, VAST),
    (WIDE, SQUARE),
    (RINGED, SMALL),
]
IDS = [f"near {v.near}, far {v.far}, region {s.id}" for v, s in CASES]


def verify(stage: Stage, viewer: Viewer, where: str, history: list[dict[int, Thing]]) -> None:
    """What a viewer that reads must see after this tick."""
    have = seen(viewer)
    truth = stage.records(stage.within(viewer, stage.view.far))
    assert set(have) == set(truth), f"{where}: another set of entities"
    near = stage.records(stage.within(viewer, stage.view.near))
    assert {h: have[h] for h in near} == near, f"{where}: a near entity is not as it is now"
    if stage.is_whole(viewer):
        assert have == truth, f"{where}: an entity is not as it is, in a tick that brings all"
        assert viewer.view.digest() == stage.digest(stage.within(viewer, stage.view.far)), where
        assert stage.stream.fanout.view_digest(viewer.seat.centre) == viewer.view.digest(), where
    for handle, record in have.items():
        recent = [stage.records({handle: past[handle]})[handle] for past in history if handle in past]
        assert record in recent, f"{where}: entity {handle} is older than the ring may be"


def whims(stage: Stage, moves: dict[int, tuple[int, int]]) -> None:
    """Viewers walk, jump, stop reading, read again, leave, come."""
    random = stage.random
    for viewer in list(stage.viewers):
        whim = random.random()
        handle = viewer.session.handle
        dx, dy = moves.setdefault(viewer.session.id, (random.randint(-200, 200), random.randint(-200, 200)))
        stage.region.walk(handle, dx, dy)
        if whim < 0.05:
            moves[viewer.session.id] = (random.randint(-200, 200), random.randint(-200, 200))
        elif whim < 0.08:
            stage.region.things[handle].parts[0] = stage.region.anywhere()
        elif whim < 0.18:
            viewer.pipe.reading = False
        elif whim < 0.2 and len(stage.viewers) > 3:
            stage.leave(viewer)
        if not viewer.pipe.reading and random.random() < 0.2:
            viewer.pipe.read_again()
    if random.random() < 0.1 and len(stage.viewers) < 9:
        stage.enter()


@pytest.mark.parametrize(("view", "spec"), CASES, ids=IDS)
@pytest.mark.parametrize("seed", range(4))
def test_a_client_sees_exactly_what_is_there_whatever_happens(view: ViewSpec, spec: RegionSpec, seed: int):
    stage = Stage(seed, view, spec)
    for handle in range(60):
        stage.region.spawn(handle, stage.region.thing())
    stage.begin()
    for _ in range(4):
        stage.enter()
    moves: dict[int, tuple[int, int]] = {}
    history: list[dict[int, Thing]] = []
    verified = 0
    for _ in range(50):
        stage.region.live({v.session.handle for v in stage.viewers}, restless=stage.random.choice((0.0, 0.1, 0.8)))
        whims(stage, moves)
        stage.play()
        history = [
            *history[-view.far_every_ticks :],
            {h: Thing(t.archetype, dict(t.parts)) for h, t in stage.region.things.items()},
        ]
        for viewer in stage.viewers:
            if stage.expects(viewer):
                verified += 1
                verify(stage, viewer, f"seed {seed}, tick {stage.region.tick}, session {viewer.session.id}", history)
    assert verified > 50
    assert stage.stream.frames_skipped > 0, "nobody lagged: the story is too tame"
    assert stage.keyframes_asked == 1, "the replica lost its region"


@pytest.mark.parametrize(("view", "spec"), CASES, ids=IDS)
def test_interest_is_never_silently_off(view: ViewSpec, spec: RegionSpec):
    stage = Stage(9, view, spec)
    for handle in range(120):
        stage.region.spawn(handle, stage.region.thing())
    stage.begin()
    for _ in range(5):
        stage.enter()
    stage.play()
    for _ in range(40):
        before = {v.session.id: (set(v.view.entities), stage.centre(v)) for v in stage.viewers}
        near_then = {v.session.id: set(stage.within(v, view.near)) for v in stage.viewers}
        lives = dict(stage.region.things)
        stage.region.live({v.session.handle for v in stage.viewers})
        for viewer in stage.viewers:
            stage.region.walk(viewer.session.handle, stage.random.randint(-150, 150), 100)
        stage.play()
        reused = {h for h, thing in stage.region.things.items() if lives.get(h) is not thing}
        for viewer in stage.viewers:
            known, centre = before[viewer.session.id]
            stayed = stage.centre(viewer) == centre
            reach = view.far if stage.is_whole(viewer) else view.near
            for message in viewer.received:
                assert isinstance(message, Delta)
                entered = handles_of(stage, message)
                if stayed:
                    for handle in entered & known - reused:
                        assert handle in stage.within(viewer, view.near), "an enter for what was in view already"
                        assert handle not in near_then[viewer.session.id], "an enter for what was near already"
                    for handle in changed_of(stage, message):
                        assert handle in stage.within(viewer, reach), "an update for what is out of view"


def handles_of(stage: Stage, message: Delta) -> set[int]:
    """Handles that a DELTA enters."""
    width = stage.region.spec.handle
    found: set[int] = set()
    for archetype, records in message.enters:
        size = SCHEMA.record_dtype(archetype, width).itemsize
        head = 2 if width == "u16" else 4
        found |= {int.from_bytes(records[at : at + head], "little") for at in range(0, len(records), size)}
    return found


def changed_of(stage: Stage, message: Delta) -> set[int]:
    """Handles that a DELTA changes."""
    width = stage.region.spec.handle
    found: set[int] = set()
    for component, records in message.changes:
        size = SCHEMA.change_dtype(component, width).itemsize
        head = 2 if width == "u16" else 4
        found |= {int.from_bytes(records[at : at + head], "little") for at in range(0, len(records), size)}
    return found


def quiet_stage(view: ViewSpec = WHOLE, **options: int) -> tuple[Stage, Viewer]:
    """One viewer in the middle, one Lamp beside it, nobody moving."""
    stage = Stage(1, view, SQUARE, **options)
    stage.region.spawn(50, Thing(0, {1: (7,), 0: (8200, 8200)}))
    stage.begin()
    viewer = stage.enter((8192, 8192))
    stage.play()
    assert [type(m) for m in viewer.received] == [Keyframe]
    return stage, viewer


def test_a_moving_entity_costs_six_bytes():
    stage, viewer = quiet_stage()
    stage.region.walk(50, 5, -5)
    stage.publish(stage.region.frame())
    one = len(viewer.pipe.taken)
    viewer.read()
    ((component, records),) = viewer.received[0].changes
    assert (component, len(records)) == (0, 6)
    for handle in range(60, 70):
        stage.region.spawn(handle, Thing(1, {0: (8000, 8000)}))
    stage.play()
    for handle in (50, *range(60, 70)):
        stage.region.walk(handle, 1, 1)
    stage.publish(stage.region.frame())
    assert len(viewer.pipe.taken) - one == 6 * 10


def test_a_tick_without_a_change_sends_nothing_but_silence_has_its_limit():
    stage, viewer = quiet_stage(quiet_ticks_max=5)
    said = []
    for _ in range(20):
        stage.play()
        said.append(len(viewer.received))
    assert sum(said) == 4
    first, second, *_ = [t for t, n in enumerate(said) if n]
    assert second - first == 5


def test_viewers_of_one_cell_get_the_very_same_bytes():
    stage, one = quiet_stage()
    two = stage.enter((8200, 8200))
    stage.play()
    stage.play()
    stage.region.walk(50, 5, 5)
    stage.publish(stage.region.frame())
    assert one.pipe.taken == two.pipe.taken != b""


def test_acks_come_in_one_write_with_the_delta_they_led_to():
    stage, viewer = quiet_stage()
    stage.region.walk(viewer.session.handle, 5, 5)
    stage.publish(stage.region.frame(acks=[(viewer.session.id, 4)]))
    assert [type(decode_server(m)) for m in messages(viewer.pipe.taken)] == [Ack, Delta]


def test_receipts_wait_for_no_frame_and_share_a_write():
    stage, viewer = quiet_stage()
    before = stage.stream.bytes_out
    stage.receipt(viewer, 4, 5)
    assert [decode_server(m) for m in messages(viewer.pipe.taken)] == [Receipt(4), Receipt(5)]
    assert stage.stream.bytes_out - before == len(viewer.pipe.taken)
    assert not viewer.session.outbox
    stage.region.walk(viewer.session.handle, 5, 5)
    viewer.pipe.taken = b""
    stage.publish(stage.region.frame(acks=[(viewer.session.id, 5)]))
    assert [type(decode_server(m)) for m in messages(viewer.pipe.taken)] == [Ack, Delta]


def test_a_receipt_overtakes_nothing_that_waits():
    stage, viewer = quiet_stage()
    stage.stream.tell(viewer.session, websocket_frame(encode_event(1, 0, [])))
    stage.receipt(viewer, 4)
    assert viewer.pipe.taken == b""
    stage.publish(stage.region.frame())
    assert [type(decode_server(m)) for m in messages(viewer.pipe.taken)][:2] == [Event, Receipt]


def test_who_lags_misses_events_but_no_receipt_and_no_last_ack():
    stage, viewer = quiet_stage()
    viewer.pipe.reading = False
    for seq in range(1, 6):
        stage.receipt(viewer, seq)
        stage.region.events.append(FrameEvent((), None, encode_event(1, 0, [])))
        stage.region.walk(50, 3, 3)
        stage.play(acks=[(viewer.session.id, seq)])
    assert viewer.session.state is SessionState.LAGGING
    viewer.pipe.read_again()
    viewer.read()
    told = viewer.others
    stage.play()
    told += viewer.others
    # Those of the skipped writes are told again; a client takes repetitions.
    assert {m.seq for m in told if isinstance(m, Receipt)} == {1, 2, 3, 4, 5}
    assert [m.seq for m in told if isinstance(m, Ack)][-1] == 5
    # The first receipt is what the pipe took last.
    assert not any(isinstance(m, Event) for m in told)
    assert [type(m) for m in viewer.received] == [Keyframe]
    assert seen(viewer) == stage.records(stage.within(viewer, 2))
    assert viewer.session.state is SessionState.JOINED


def test_who_lags_as_she_is_told_who_she_is_is_told_it_with_her_next_view():
    stage, viewer = quiet_stage()
    seat = viewer.seat
    stage.stream.lose(seat)
    stage.play()
    assert viewer.views.entity == (SQUARE.id, SQUARE.entities_max)
    viewer.pipe.reading = False
    stage.region.walk(50, 3, 3)
    stage.play()
    # Her entity is there again, in the first frame that her socket does not take.
    stage.stream.settle(seat, viewer.session.handle)
    seat.you = True
    stage.play()
    assert viewer.session.state is SessionState.LAGGING
    viewer.pipe.read_again()
    stage.region.walk(50, 3, 3)
    stage.play()
    assert viewer.views.entity == (SQUARE.id, viewer.session.handle)


def test_a_ticks_frame_is_skipped_not_queued_while_bytes_wait():
    stage, viewer = quiet_stage()
    viewer.pipe.reading = False
    stage.region.walk(50, 3, 3)
    stage.play()
    waiting = len(viewer.pipe._waiting)
    for _ in range(30):
        stage.region.walk(50, 3, 3)
        stage.play()
    assert len(viewer.pipe._waiting) == waiting
    assert stage.stream.frames_skipped == 30


def test_events_are_heard_by_those_who_see_the_place_by_those_named_and_by_all():
    stage, near = quiet_stage()
    far = stage.enter((100, 100))
    stage.play()
    stage.region.events += [
        FrameEvent((), (8192, 8192), encode_event(1, 1, [])),
        FrameEvent((far.session.id, 12345), None, encode_event(1, 2, [])),
        FrameEvent((), None, encode_event(1, 3, [])),
    ]
    stage.play()
    assert sorted(m.event for m in near.others if isinstance(m, Event)) == [1, 3]
    assert sorted(m.event for m in far.others if isinstance(m, Event)) == [2, 3]


def test_one_writes_events_are_bounded():
    stage, viewer = quiet_stage()
    for number in range(40):
        place = (8192, 8192) if number % 2 else None
        stage.region.events.append(FrameEvent((), place, encode_event(1, number, [])))
    stage.play()
    heard = [m.event for m in viewer.others if isinstance(m, Event)]
    # Eight of each kind, by the policies that the settings name.
    assert len(heard) == 16


@pytest.mark.parametrize("view", [WHOLE, RINGED], ids=["whole", "ringed"])
def test_a_view_digest_is_right_at_the_moment_it_comes(view: ViewSpec):
    stage = Stage(5, view, SQUARE)
    for handle in range(100):
        stage.region.spawn(handle, stage.region.thing())
    stage.begin()
    viewer = stage.enter((8192, 8192))
    stage.play()
    answers = 0
    for _ in range(40):
        stage.stream.check(viewer.seat)
        stage.region.live({viewer.session.handle})
        stage.region.walk(viewer.session.handle, 120, 60)
        stage.publish(stage.region.frame())
        data, viewer.pipe.taken = viewer.pipe.taken, b""
        for payload in messages(data):
            message = viewer.views.receive(payload)
            if isinstance(message, ViewDigest):
                answers += 1
                assert message.tick == stage.region.tick
                assert (message.count, message.crc) == viewer.view.digest()
    assert answers == (40 if view is WHOLE else 10)


def test_a_lost_frame_asks_for_a_keyframe_and_everyone_gets_a_fresh_view():
    stage, viewer = quiet_stage()
    stage.region.frame()
    stage.region.walk(50, 9, 9)
    stage.play()
    assert stage.keyframes_asked == 2
    assert viewer.received == []
    # Until it comes, acks are still told.
    stage.play(acks=[(viewer.session.id, 3)])
    assert viewer.session.acked == 3
    stage.publish(stage.region.keyframe())
    viewer.read()
    assert [type(m) for m in viewer.received] == [Keyframe]
    assert seen(viewer) == stage.records(stage.within(viewer, 2))
    stage.region.walk(50, 1, 1)
    stage.play()
    assert [type(m) for m in viewer.received] == [Delta]


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x90", b"\x01"])
def test_what_is_no_frame_asks_for_a_keyframe_and_harms_nobody(data: bytes):
    stage, viewer = quiet_stage()
    stage.publish(data)
    assert stage.keyframes_asked == 2
    stage.publish(stage.region.keyframe())
    viewer.read()
    assert seen(viewer) == stage.records(stage.within(viewer, 2))


def test_a_session_that_was_refused_or_removed_is_told_once_with_the_reason():
    stage, viewer = quiet_stage()
    stage.region.refused += [(viewer.session.id, "eaten"), (999, "a stranger")]
    stage.play()
    assert stage.ended == [(viewer.session, "eaten")]


def test_whoever_is_removed_is_shown_nothing_more_and_the_others_all_that_is_theirs():
    stage, first = quiet_stage()
    others = [stage.enter((8192 + 300 * i, 8192)) for i in range(3)]
    stage.play()
    seat = first.seat
    stage.stream.remove(seat)
    stage.stream.remove(seat)
    for _ in range(5):
        stage.region.walk(50, 2, 2)
        stage.play()
        assert first.received == []
        for viewer in others:
            assert seen(viewer) == stage.records(stage.within(viewer, 2))


def test_more_viewers_than_there_was_room_for_at_first():
    stage, _ = quiet_stage()
    for i in range(130):
        stage.enter((40 * i, 70 * i))
    for _ in range(3):
        stage.region.live({v.session.handle for v in stage.viewers})
        stage.play()
    for viewer in stage.viewers:
        assert seen(viewer) == stage.records(stage.within(viewer, 2))


def test_a_viewer_that_returns_gets_a_keyframe_first():
    stage, viewer = quiet_stage()
    viewer.session.on(Happening.LOST, 0.0)
    stage.stream.remove(viewer.seat)
    stage.region.walk(50, 9, 9)
    stage.play()
    viewer.session.on(Happening.RESUMED, 0.0)
    stage.stream.welcome(viewer.session, viewer.session.handle)
    stage.region.walk(50, 9, 9)
    stage.play()
    assert [type(m) for m in viewer.received] == [Keyframe]
    assert seen(viewer) == stage.records(stage.within(viewer, 2))


def test_a_keyframe_that_does_not_come_is_asked_for_again():
    stage, viewer = quiet_stage()
    stage.region.frame()
    for _ in range(25):
        stage.play()
    # At the beginning, at the gap, and after every ten frames that could not be used.
    assert stage.keyframes_asked == 1 + 1 + 2
    stage.publish(stage.region.keyframe())
    viewer.read()
    assert seen(viewer) == stage.records(stage.within(viewer, 2))


def test_a_keyframe_that_another_gateway_asked_for_is_nobodys_fresh_view():
    stage, viewer = quiet_stage()
    stage.region.walk(50, 9, 9)
    stage.play()
    stage.publish(stage.region.keyframe())
    viewer.read()
    assert viewer.received == []
    stage.region.walk(50, 1, 1)
    stage.play()
    assert [type(m) for m in viewer.received] == [Delta]


def test_what_comes_late_or_twice_is_heard_once():
    stage, viewer = quiet_stage()
    stage.region.events.append(FrameEvent((viewer.session.id,), None, encode_event(1, 0, [])))
    twice = stage.region.frame(acks=[(viewer.session.id, 3)])
    heard = 0
    for _ in range(3):
        stage.publish(twice)
        viewer.read()
        heard += sum(isinstance(m, Event) for m in viewer.others)
    stage.play()
    stage.publish(twice)
    assert stage.keyframes_asked == 1
    assert heard == 1
    # One that was overtaken says what was applied, all the same.
    late, next_ = stage.region.frame(acks=[(viewer.session.id, 7)]), stage.region.frame()
    stage.publish(next_)
    assert viewer.session.acked == 3
    stage.publish(late)
    assert viewer.session.acked == 7


def test_a_keyframe_of_before_what_was_heard_is_not_what_is_waited_for():
    stage, viewer = quiet_stage()
    old = stage.region.keyframe()
    stage.region.frame()
    stage.play()
    stage.publish(old)
    assert stage.stream.awaits_key
    stage.publish(stage.region.keyframe())
    assert not stage.stream.awaits_key
    assert stage.stream.tick == stage.region.tick
    viewer.read()
    assert seen(viewer) == stage.records(stage.within(viewer, 2))


def test_what_a_former_owner_says_is_not_heard_and_a_new_one_is_asked_for_all_of_it():
    stage, viewer = quiet_stage()
    stage.epoch = 5
    stage.region.walk(50, 9, 9)
    stage.play()
    assert stage.keyframes_asked == 2
    stage.publish(stage.region.keyframe())
    viewer.read()
    stage.epoch = 4
    for message in (stage.region.frame(acks=[(viewer.session.id, 9)]), stage.region.keyframe()):
        stage.publish(message)
    viewer.read()
    assert (viewer.session.acked, viewer.received) == (0, [])


def test_a_region_that_was_set_back_is_heard_once_its_newer_owner_has_been_silent_for_long():
    stage, viewer = quiet_stage()
    stage.epoch = 2**63
    stage.play()
    stage.publish(stage.region.keyframe())
    viewer.read()
    stage.epoch = 4
    stage.region.tick = 0
    stage.clock.seconds += 4
    stage.publish(stage.region.frame(acks=[(viewer.session.id, 9)]))
    assert viewer.session.acked == 0
    stage.clock.seconds += 2
    asked = stage.keyframes_asked
    stage.region.walk(50, 9, 9)
    stage.play()
    assert stage.keyframes_asked == asked + 1
    stage.publish(stage.region.keyframe())
    stage.region.walk(50, 3, 3)
    stage.play()
    viewer.read()
    assert seen(viewer) == stage.records(stage.within(viewer, 2))
    assert stage.stream.tick == stage.region.tick


def test_what_was_said_before_a_tick_that_was_heard_is_outdated_and_so_is_what_a_former_owner_says():
    stage, _ = quiet_stage()
    stage.epoch = 5
    stage.play()
    stage.play()
    tick, outdates = stage.region.tick, stage.stream.outdates
    assert [outdates(5, t) for t in (tick - 1, tick, tick + 1)] == [True, False, False]
    # Of a newer owner nothing was heard yet: it may have begun with an earlier tick.
    assert [outdates(epoch, tick - 1) for epoch in (4, 6)] == [True, False]
    stage.clock.seconds += 5
    assert not outdates(4, tick - 1), "the world was set back, for all that is known"


def test_a_new_owner_that_goes_on_where_the_last_one_stopped_takes_nobodys_view_and_another_does():
    stage, viewer = quiet_stage()
    stage.epoch = 5
    stage.publish(stage.region.keyframe())
    stage.region.walk(50, 9, 9)
    stage.play()
    assert [type(m) for m in viewer.received] == [Delta]
    # This one made the last tick anew, and otherwise.
    stage.epoch = 6
    stage.region.walk(50, 9, 9)
    stage.region.frame()
    stage.region.tick -= 1
    stage.publish(stage.region.keyframe())
    viewer.read()
    assert [type(m) for m in viewer.received] == [Keyframe]
    assert seen(viewer) == stage.records(stage.within(viewer, 2))
    assert stage.keyframes_asked == 1


def test_how_fast_a_regions_time_goes_is_told_by_its_frames_wherever_it_is():
    stage, _ = quiet_stage()
    clock, stream = stage.clock, stage.stream

    def ticks(n: int, every_s: float) -> float:
        for _ in range(n):
            clock.seconds += every_s
            stage.play()
        return stream.measured_hz(20.0)

    assert ticks(60, 0.05) == pytest.approx(20.0)
    # Time dilates; ticks that come faster than declared are made up for.
    assert ticks(60, 0.1) == pytest.approx(10.0)
    assert ticks(60, 0.04) == 20.0
    # It stands, and goes on.
    assert ticks(60, 0.05) == pytest.approx(20.0)
    clock.seconds += 2.05
    assert stream.measured_hz(20.0) == pytest.approx(10.0, rel=0.05)
    assert ticks(60, 0.05) == pytest.approx(20.0)
    # What was missed says nothing of how fast it went.
    stage.region.frame()
    stage.play()
    stage.publish(stage.region.keyframe())
    assert stream.measured_hz(20.0) == 20.0
    assert ticks(5, 0.1) == 20.0
    assert ticks(10, 0.1) == pytest.approx(10.0)
