"""Waiting for what comes about by itself."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
LONGEST = 60.0  # seconds: what comes about at all does so by then, on a slow and busy machine too


async def until(look: Callable[[], Awaitable[T | None]], *, within: float = LONGEST) -> T:
    """The first true thing that `look` sees; fails when `within` seconds have passed.

    The longer it takes the rarer are the looks, which keep a slow machine from what is waited for.
    """
    began = time.monotonic()
    while True:
        seen = await look()
        if seen:
            return seen
        waited = time.monotonic() - began
        assert waited < within, f"not seen within {within} s"
        await asyncio.sleep(min(max(0.05, waited / 10), 0.5))
