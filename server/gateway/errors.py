"""What the gateway can refuse.

GatewayError
├── Unauthorised    a token that is not accepted
├── ResumeFailed    a resume token that is unknown, spent or too old
├── ResumeUnsure    a resume token that may be another gateway's
└── FrameGap        a frame that does not follow the one before, or whose digest does not hold
"""

from __future__ import annotations


class GatewayError(Exception):
    """Root of what the gateway refuses."""


class Unauthorised(GatewayError):
    """A token that is not accepted."""


class ResumeFailed(GatewayError):
    """A resume token that is unknown, spent or too old."""


class ResumeUnsure(GatewayError):
    """A resume token that may be another gateway's, whose key is not known here yet."""


class FrameGap(GatewayError):
    """A frame that does not follow the one before, or whose digest does not hold."""
