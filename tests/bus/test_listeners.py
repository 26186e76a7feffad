"""Who listens to what. What buses promise of it is in the contract; here is what they rely on."""

from server.bus.listeners import Listeners


def test_topics_are_those_that_somebody_listens_to():
    listeners = Listeners()
    ends = [listeners.add("a", print), listeners.add("a", print), listeners.add("b", print)]
    assert listeners.topics == {"a", "b"}
    ends[0]()
    assert listeners.topics == {"a", "b"}
    ends[1]()
    ends[1]()
    assert listeners.topics == {"b"}
    listeners.add("a", print)
    ends[1]()
    assert listeners.topics == {"a", "b"}
    assert listeners.hears("a")
    assert not listeners.hears("c")
