"""Which processor a worker stays on."""

import contextlib
import os
from collections import Counter
from pathlib import Path

_INTERRUPTS = Path("/proc/interrupts")


def stay_on_one(place: int, *, neighbours: int) -> None:
    """
    Bind this thread, and those that it starts from now on, to one processor.

    Args:
        place: Neighbours' differ by one.

        neighbours: How many there are, this one included.
    """
    ours = sorted(os.sched_getaffinity(0))
    with contextlib.suppress(OSError):
        ours = calm(ours, _INTERRUPTS.read_text(), wanted=neighbours)
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, {ours[place % len(ours)]})


def calm(processors: list[int], interrupts: str, *, wanted: int) -> list[int]:
    """
    Leave out a processor that takes most of what devices interrupt, where others are enough.

    Who waits for the disk is woken there: a database on this machine gets into a worker's way.
    """
    head, *lines = interrupts.splitlines()
    columns = [int(name.removeprefix("CPU")) for name in head.split()]
    taken: Counter[int] = Counter()
    for line in lines:
        number, _, counts = line.partition(":")
        if number.strip().isdigit():  # a device's; the others are the processors' own
            taken.update(dict(zip(columns, map(int, counts.split()[: len(columns)]), strict=True)))
    others = [each for each in processors if taken[each] * 2 <= taken.total()]
    return others if len(others) >= wanted else processors
