"""Settings of notifications alone."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class NotificationsSettings:
    """`sms_directory` is where the file channel leaves texts; `smtp_url` is smtp://host:port."""

    sms_directory: Path
    smtp_url: str
    send_lease_seconds: float = 30.0
