"""
The `wallet` command, from its first step.

glibc asks the environment how its malloc shall be, and only when a program begins. So a server for
which nobody chose chooses and begins again: the same process, before it has imported anything
large. Elsewhere nothing reads the choice.
"""

import contextlib
import os
import sys

_VARIABLE = "GLIBC_TUNABLES"
#: Only one thread allocates at a time, Python's lock sees to that: it needs no heap of its own, nor
#: a store of all that it ever freed.
_MALLOC = {
    "arena_max": 2,
    # From here on memory is the system's again once it is free.
    "mmap_threshold": 128 * 1024,
    # From here on no thread keeps what it frees. Smaller things are Python's own anyway.
    "tcache_max": 512,
}


def main() -> None:
    """Run the command."""
    if sys.argv[1:2] == ["serve"] and _VARIABLE not in os.environ:
        choices = (f"glibc.malloc.{name}={value}" for name, value in _MALLOC.items())
        os.environ[_VARIABLE] = ":".join(choices)
        with contextlib.suppress(OSError):  # where that is forbidden, a worker is larger
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 (no shell)
    from wallet_service.cli import main as command  # noqa: PLC0415 (it imports all the rest)

    command()


if __name__ == "__main__":
    main()
