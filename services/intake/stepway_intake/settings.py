"""Settings of intake alone."""

from dataclasses import dataclass


@dataclass(frozen=True)
class IntakeSettings:
    """`watch_seconds` is how long the watchdog waits before it asks again for a page that no channel has taken."""

    watch_seconds: float = 15.0
