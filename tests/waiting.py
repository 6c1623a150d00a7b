"""Waiting for what comes about by itself."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(look: Callable[[], Awaitable[T | None]], *, within: float = 20.0) -> T:
    """The first true thing that `look` sees; fails when `within` seconds have passed."""
    deadline = time.monotonic() + within
    while True:
        seen = await look()
        if seen:
            return seen
        assert time.monotonic() < deadline, f"not seen within {within} s"
        await asyncio.sleep(0.05)
