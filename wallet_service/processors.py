"""Which processor a worker stays on."""

import contextlib
import os


def stay_on_one(place: int) -> None:
    """Bind this thread, and those that it starts from now on, to one processor by a place."""
    processors = sorted(os.sched_getaffinity(0))
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, {processors[place % len(processors)]})
