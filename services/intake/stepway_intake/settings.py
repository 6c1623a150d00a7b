"""Settings of intake alone."""

from dataclasses import dataclass


@dataclass(frozen=True)
class IntakeSettings:
    """`watch_seconds` is how long the watchdog waits before it asks again for a page that no channel has taken.

    `hand_over_seconds` is how long a transfer waits before it tries a site again that did not answer.
    """

    watch_seconds: float = 15.0
    hand_over_seconds: float = 2.0
