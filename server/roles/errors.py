"""Why a process can't do its part in a cluster.

RoleError
├── SettingsRefuse   with these settings it never will
└── RedisAway        Redis does not answer
"""

from __future__ import annotations


class RoleError(Exception):
    """A process that can't do its part. Nothing was changed."""


class SettingsRefuse(RoleError):
    """With these settings it never will."""


class RedisAway(RoleError):
    """Redis does not answer at the start. Once it runs, a process goes on without it."""
