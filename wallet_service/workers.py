"""
Run one worker in this process, or several that share the port by SO_REUSEPORT.

Workers are spawned before this process makes any gRPC object (gRPC does not survive a fork), each
builds its own server, and each ends when its supervisor does.
"""

import contextlib
import functools
import gc
import multiprocessing
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import structlog
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from wallet_service.logs import configure_logs
from wallet_service.processors import stay_on_one
from wallet_service.server import WalletServer, open_from, prepare_database
from wallet_service.settings import Settings, SettingsError
from wallet_service.storage.database import Database

_RESTART_DELAY_S = 1.0
_ORPHANS_WAIT_S = 15
#: The exit code of a worker that cannot use its settings, and so of the command.
_WRONG_SETTING = 2
#: New objects after which Python looks for garbage among them.
_GARBAGE_MAX = 20_000
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: What a shell adds to the number of the signal that ended a command.
_KILLED = 128
#: More than there are processors. In a container every server has the same process id.
_PLACES = 1 << 16

_log = structlog.get_logger()
_spawn = multiprocessing.get_context("spawn")


def serve(settings: Settings, on_ready: Callable[[int], None]) -> None:
    """
    Serve until SIGTERM or SIGINT, then drain; a second signal ends at once.

    Args:
        settings: Everything chosen.

        on_ready: Called with the port once calls are answered.

    Raises:
        SettingsError: The address or the keys cannot be used.

        UnsafeDatabase, SchemaOutOfDate, DBAPIError: As `prepare_database` does.
    """
    _let_die(signal.SIGTERM)
    database = prepare_database(settings)
    place = secrets.randbelow(_PLACES)
    if settings.workers == 1:
        server = _settled(settings, database, place)
        wait_for_signal = _awaited(*_SIGNALS)  # before anybody learns that calls are answered
        on_ready(server.start())
        wait_for_signal()
        _stop(server)
        return
    database.close()
    with _reserve_port(settings.listen) as port:
        host = settings.listen.rpartition(":")[0]
        shared = settings.model_copy(update={"listen": f"{host}:{port.getsockname()[1]}"})
        _Supervisor(shared, on_ready, place).run()


def _stop(server: WalletServer) -> None:
    """Drain; end this process at once if threads had to be left behind."""
    try:
        is_stopped = server.stop()
    except RuntimeError:  # no thread could be started to stop with
        is_stopped = False
    _flush_output()
    if not is_stopped:
        # Python would wait for them. Whatever they are at survives this, as it survives `kill -9`.
        os._exit(0)


def _flush_output() -> None:
    """Write what is left; what nobody reads shall not change the exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _let_die(*signals: signal.Signals) -> None:
    """Give signals their usual, deadly effect, which the system alone spares process 1."""
    for each in signals:
        signal.signal(each, _die if os.getpid() == 1 else signal.SIG_DFL)


def _die(number: int, _frame: object) -> None:
    os._exit(_KILLED + number)


def _awaited(*signals: signal.Signals) -> Callable[[], None]:
    """
    Return what sleeps until one of some signals, though it came before.

    From that signal on they have their usual, deadly effect.
    """
    # A pipe wakes this thread whichever thread the system interrupts, and takes no lock that it
    # might hold just then.
    woken, waker = os.pipe()
    os.set_blocking(waker, False)

    def restore(*_: object) -> None:
        _let_die(*signals)

    signal.set_wakeup_fd(waker)  # first: a signal that finds only a handler would wake nobody
    for each in signals:
        signal.signal(each, restore)

    def sleep() -> None:
        os.read(woken, 1)
        restore()  # again: a signal may have come before the last handler was in place

    return sleep


@retry(
    retry=retry_if_exception_type(SettingsError),
    # Orphans of a killed supervisor need a moment to let go.
    stop=stop_after_delay(_ORPHANS_WAIT_S),
    wait=wait_fixed(0.1),
    reraise=True,
)
def _reserve_port(listen: str) -> socket.socket:
    """Bind the shared port, having made sure that no stranger shares it too."""
    host, _, port = listen.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    address = (host.strip("[]"), int(port))
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
        reserved = socket.socket(family)
        # The first of these because connections of an earlier server may still be closing.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(address)
    except OSError as error:
        raise SettingsError(
            f"WALLET_LISTEN: cannot listen on {listen}: {error.strerror}"
        ) from error
    return reserved


class _Worker:
    """A worker's process and the pipe it tells of its readiness by."""

    def __init__(self, settings: Settings, place: int) -> None:
        self.ready, child_end = _spawn.Pipe(duplex=False)
        self.process: BaseProcess = _spawn.Process(target=_work, args=(settings, place, child_end))
        self.process.start()
        child_end.close()
        self.is_ready = False

    def look(self) -> None:
        """Learn whether it is ready; where its pipe just ended it has, and has an exit code."""
        try:
            self.is_ready = self.is_ready or (self.ready.poll() and bool(self.ready.recv_bytes()))
        except EOFError:
            self.process.join()


class _Supervisor:
    """Keeps workers running until a signal, then lets each of them drain."""

    def __init__(self, settings: Settings, on_ready: Callable[[int], None], place: int) -> None:
        self._settings = settings
        self._on_ready = on_ready
        self._place = place
        self._woken, self._waker = _spawn.Pipe(duplex=False)
        self._workers: list[_Worker] = []
        self._is_announced = False

    def run(self) -> None:
        """Supervise until a signal; a second one kills the workers and ends at once."""
        for number in _SIGNALS:
            signal.signal(number, self._end)
        places = range(self._place, self._place + self._settings.workers)
        try:
            for place in places:  # one by one: all that began must be ended, come what may
                self._workers.append(_Worker(self._settings, place))
            while not self._woken.poll():
                self._look_after_workers()
        finally:
            self._stop()
            _flush_output()

    def _look_after_workers(self) -> None:
        wait([self._woken, *self._watched()])
        for index, worker in enumerate(self._workers):
            worker.look()
            if worker.process.exitcode is not None:
                self._replace(index)
        if not self._is_announced and all(worker.is_ready for worker in self._workers):
            self._is_announced = True
            self._on_ready(int(self._settings.listen.rpartition(":")[2]))

    def _watched(self) -> list[Connection | int]:
        sentinels = [worker.process.sentinel for worker in self._workers]
        return [*sentinels, *(worker.ready for worker in self._workers if not worker.is_ready)]

    def _replace(self, index: int) -> None:
        """Start another worker for a dead one; where none ever served, give up instead."""
        exit_code = self._workers[index].process.exitcode
        if not self._is_announced:
            sys.exit(exit_code or 1)
        _log.error("worker_died", exit_code=exit_code)
        if not self._woken.poll(_RESTART_DELAY_S):
            with contextlib.suppress(OSError):  # the dead one is found again, a delay later
                self._workers[index] = _Worker(self._settings, self._place + index)

    def _stop(self) -> None:
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join()

    def _end(self, _number: int, _frame: object) -> None:
        for number in _SIGNALS:
            signal.signal(number, self._end_at_once)
        self._waker.send_bytes(b"end")

    def _end_at_once(self, number: int, _frame: object) -> None:
        for worker in self._workers:
            worker.process.kill()
        _let_die(signal.Signals(number))
        signal.raise_signal(number)


def _settled(settings: Settings, database: Database, place: int) -> WalletServer:
    """
    Build a worker's server in a process made a good place for it.

    Args:
        settings: Everything chosen.

        database: As for `WalletServer`.

        place: Neighbours' differ by one; decides the processor, where the worker has one.
    """
    # What was imported stays: looking through it again and again for garbage is in vain.
    gc.freeze()
    gc.set_threshold(_GARBAGE_MAX)
    build = functools.partial(WalletServer, settings, database, shares_port=settings.workers > 1)
    if not (settings.pin_workers and hasattr(os, "sched_setaffinity")):
        return build()
    with contextlib.suppress(OSError):  # where that is forbidden, turns just take longer
        # A thread that is woken waits for the waker to go to sleep, instead of pushing it aside
        # only to find that it still has Python's lock.
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    counted = settings.workers + (0 if database.is_embedded else 1)
    if counted >= len(os.sched_getaffinity(0)):
        stay_on_one(place)
        return build()
    # Starts gRPC's own threads and the checkpointer: they need no lock of Python's and may roam.
    server = build()
    stay_on_one(place)
    return server


def _work(settings: Settings, place: int, ready: Connection) -> None:
    """Run one worker in its own process."""
    # A terminal sends it to all; the supervisor decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logs(settings.log_level)
    try:
        server = _settled(settings, open_from(settings, must_exist=True), place)
        threading.Thread(target=_end_with_supervisor, name="orphan", daemon=True).start()
        wait_for_signal = _awaited(signal.SIGTERM)
        server.start()
    except SettingsError as error:
        sys.stderr.write(f"wallet: {error}\n")
        sys.exit(_WRONG_SETTING)
    ready.send_bytes(b"ready")
    wait_for_signal()
    _stop(server)


def _end_with_supervisor() -> None:
    supervisor = multiprocessing.parent_process()
    assert supervisor
    supervisor.join()
    os.kill(os.getpid(), signal.SIGTERM)
