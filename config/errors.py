"""Everything the settings can refuse, drawn as one tree.

ConfigError             a file, a variable or an option that cannot be taken as it is
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with one setting."""

    # The file, the environment variable or "command line".
    source: str
    # "section.key"; empty where the source as a whole is at fault.
    key: str
    # What is wrong, without the refused value: it may be a secret.
    reason: str

    def __str__(self) -> str:
        return f"{self.source}: {self.key}: {self.reason}" if self.key else f"{self.source}: {self.reason}"


class ConfigError(Exception):
    """The settings cannot be used. `problems` holds every fault found, at least one."""

    def __init__(self, *problems: Problem) -> None:
        assert problems, "a ConfigError says what is wrong"
        self.problems = problems
        super().__init__("\n".join(str(p) for p in problems))
