"""Work beside the event loop that the end of the process does not wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

Result = TypeVar("Result")


async def in_thread(work: Callable[[], Result]) -> Result:
    """Run `work` in a thread of its own and give what it gives.

    The threads of asyncio's and anyio's pools are joined when Python ends, which a map in the making or a
    network being loaded would hold up for many seconds.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(set_outcome: Callable[[], None]) -> None:
        if not future.done():  # done: the one who asked has gone away
            set_outcome()

    def run() -> None:
        try:
            result = work()
        except Exception as error:
            failed = error
            outcome = lambda: future.set_exception(failed)  # noqa: E731
        else:
            outcome = lambda: future.set_result(result)  # noqa: E731
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=run, name="sslkit-serve", daemon=True).start()
    return await future
