"""The gateway's error tree is the one drawn at its module's top."""

from __future__ import annotations

from server.gateway import errors


def test_every_error_is_a_gateway_error_and_drawn_at_the_top():
    leaves = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Exception)]
    assert {c.__name__ for c in leaves} == {"GatewayError", "Unauthorised", "ResumeFailed", "ResumeUnsure", "FrameGap"}
    for leaf in leaves:
        assert issubclass(leaf, errors.GatewayError)
        assert leaf.__name__ in (errors.__doc__ or "")
