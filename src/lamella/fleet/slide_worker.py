"""A worker process that finishes its slide before it ends at the end of its lifetime."""

import asyncio
from typing import Any

from distributed import Worker
from distributed.core import Status

_LOOK_S = 0.5


class SlideWorker(Worker):
    """Dask's worker, but for its end: Dask's own would begin the slide anew elsewhere."""

    async def close_gracefully(self, *args: Any, **kwargs: Any) -> None:
        """Take no more slides, end the one at work, then close as Dask does."""
        if self.status is Status.running:
            # Dask pauses workers by their memory only, which is switched off in worker jobs.
            self.status = Status.paused
            while self.state.executing:
                await asyncio.sleep(_LOOK_S)
        await super().close_gracefully(*args, **kwargs)
