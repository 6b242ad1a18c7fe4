"""The worker processes of a server, as its operating system sees them."""

import os
import signal

import psutil

from harness.patience import eventually


def workers_of(supervisor: int) -> set[int]:
    """Return the process ids of a supervisor's workers."""
    children = psutil.Process(supervisor).children()
    return {child.pid for child in children if _is_worker(child)}


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "spawn_main" in " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


def kill_process(pid: int) -> None:
    """End a process as `kill -9` does."""
    os.kill(pid, signal.SIGKILL)


def wait_until_gone(pids: set[int]) -> None:
    """Wait until none of some processes runs."""
    eventually(lambda: not any(_runs(pid) for pid in pids))


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
