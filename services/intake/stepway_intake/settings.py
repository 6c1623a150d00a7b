"""Settings of intake alone."""

from dataclasses import dataclass


@dataclass(frozen=True)
class IntakeSettings:
    """`watch_seconds` is how long the watchdog waits before it asks again for a page that no channel has taken.

    When none has for `fallback_seconds`, it writes to the site's emergency address by `smtp_url`, smtp://host:port;
    without one it only logs that. `hand_over_seconds` is how long a transfer waits before it tries a site again that
    did not answer.
    """

    watch_seconds: float = 15.0
    fallback_seconds: float = 60.0
    smtp_url: str = ""
    hand_over_seconds: float = 2.0
