"""
What happens around every call: admission, log, errors, token and policy, deadline, decoding.

gRPC calls `intercept_service` on its one serving thread, so a method's handler is wrapped once and
remembered; the work is done around the handler, on the call's own thread.

Every method is given to gRPC as one of many requests, which is the same on the wire: so a call is
begun before its request is there, and ended without it where its token is no good.
"""

import math
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import grpc
import structlog
from google.protobuf.message import DecodeError

from wallet_service.ledger.errors import (
    DeadlineExceeded,
    InternalError,
    ValidationFailed,
    Violation,
    WalletError,
)
from wallet_service.transport.admission import Admission
from wallet_service.transport.auth import POLICIES, Caller, TokenVerifier
from wallet_service.transport.slow_peers import SlowPeers
from wallet_service.transport.status import abort, code_of
from wallet_service.transport.threads import ThreadPool
from wallet_service.transport.tokenless import bounded

_REPLAYED = ("wallet-replayed", "true")
_NOBODY = Caller("", frozenset(), 0.0)

_log = structlog.get_logger()

# Generic only in the type stubs, so spelled as text.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Handler | None]"


@dataclass(slots=True)
class Call:
    """
    What is known of the call under way.

    `check_caller` raises once the token is no good any more. `deadline` is on `time.monotonic()`'s
    clock.
    """

    method: str
    caller: Caller = _NOBODY
    check_caller: Callable[[], Caller] = lambda: _NOBODY
    deadline: float = math.inf
    request_id: str = ""
    is_replayed: bool = False
    failure: WalletError | None = None


_current: ContextVar[Call] = ContextVar("call")


def current_call() -> Call:
    """Return the call that this thread is handling."""
    return _current.get()


class Calls(grpc.ServerInterceptor):
    """
    Wraps the handler of each of the wallet's methods.

    Args:
        admission: Turns calls away while there is too much to do.

        verifier: Identifies callers.

        peers: Waits for requests, and sees that answers are taken.

        default_deadline_s: For calls without a deadline of their own.
    """

    def __init__(
        self,
        admission: Admission,
        verifier: TokenVerifier,
        peers: SlowPeers,
        *,
        default_deadline_s: float,
    ) -> None:
        self._admission = admission
        self._verifier = verifier
        self._peers = peers
        self._default_deadline_s = default_deadline_s
        self._wrapped: dict[str, Handler] = {}

    def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> "Handler | None":
        """Return what handles a call."""
        method: str = details.method
        if not method.startswith("/wallet."):
            handler = continuation(details)
            return bounded(handler, self._peers) if handler else None
        rejection = self._admission.rejection()
        if rejection:
            return _always(rejection, method, pool=self._admission.rejecting_pool)
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = continuation(details)
            if handler is None:
                return None
            wrapped = self._wrapped[method] = self._wrap(method, handler)
        return wrapped

    def _wrap(self, method: str, handler: Handler) -> Handler:
        """
        Return a handler that takes bytes, which it decodes once the caller may call.

        gRPC itself would answer undecodable bytes with INTERNAL before any handler runs; here they
        are what they are, an invalid argument.
        """
        inner = handler.unary_stream or handler.unary_unary
        deserialize, serialize = handler.request_deserializer, handler.response_serializer
        assert inner
        assert deserialize
        assert serialize

        name = method.rpartition("/")[2]
        is_large = name.startswith("List") or name == "ExecuteBatch"

        def decode(data: bytes) -> Any:
            try:
                return deserialize(data)
            except DecodeError as error:
                violation = Violation("request", f"these bytes are not a {method} request")
                raise ValidationFailed([violation]) from error

        def answer(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            with self.around(method, context) as call:
                if is_large:
                    self._peers.check(call.caller.user_id)
                request = decode(self._peers.request(requests, context))
                data: bytes = serialize(inner(request, context))
                self._peers.answered(context, call.caller.user_id, len(data))
                return data

        def stream(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
            with self.around(method, context):
                request = decode(self._peers.request(requests, context))
                yield from inner(request, context)

        if handler.unary_stream:
            _run_on(self._admission.stream_pool, stream)
            return grpc.stream_stream_rpc_method_handler(stream, None, serialize)
        return grpc.stream_unary_rpc_method_handler(answer)

    @contextmanager
    def around(self, method: str, context: grpc.ServicerContext) -> Iterator[Call]:
        """Let a call pass with a known caller and a deadline, end it with one status, log it."""
        call = Call(method)
        _current.set(call)
        started = time.perf_counter()
        try:
            call.check_caller = partial(self._verifier.caller_of, context.invocation_metadata())
            call.caller = call.check_caller()
            call.caller.require(POLICIES[method])
            call.deadline = self._deadline(context)
            yield call
            if call.is_replayed:
                context.set_trailing_metadata((_REPLAYED,))
        except Exception as error:  # noqa: BLE001 (the client learns only its number)
            failure = error if isinstance(error, WalletError) else incident(method, error)
            call.failure = failure
            _forget_frames(error)
            abort(context, failure, *((_REPLAYED,) if call.is_replayed else ()))
        finally:
            _write_log(call, context, duration_s=time.perf_counter() - started)

    def _deadline(self, context: grpc.ServicerContext) -> float:
        """Return a call's deadline; one that is over is not begun."""
        remaining_s = context.time_remaining()
        # Without a deadline gRPC says 2^63 nanoseconds or so, not None.
        if remaining_s is None or remaining_s > 10**9:
            remaining_s = self._default_deadline_s
        if remaining_s <= 0:
            raise DeadlineExceeded
        return time.monotonic() + remaining_s


def _always(error: WalletError, method: str, *, pool: ThreadPool) -> Handler:
    """Return a handler that answers an error, on threads of its own."""

    def reject(_requests: Iterator[bytes], context: grpc.ServicerContext) -> None:
        _write_log(Call(method, failure=error), context, duration_s=0.0)
        abort(context, error)

    _run_on(pool, reject)
    return grpc.stream_unary_rpc_method_handler(reject)


def _forget_frames(error: BaseException) -> None:
    """
    Let go of the frames that an error and its causes came through.

    They refer to the error again, and to the request: it would stay until Python looks for cycles.
    """
    seen: set[int] = set()
    causes: list[BaseException | None] = [error]
    while causes:
        cause = causes.pop()
        if cause is not None and id(cause) not in seen:
            seen.add(id(cause))
            cause.__traceback__ = None
            causes += [cause.__cause__, cause.__context__]


def _run_on(pool: ThreadPool, behavior: Any) -> None:
    """Have gRPC run a behavior on a pool of its own."""
    behavior.experimental_thread_pool = pool


def incident(method: str, error: Exception) -> InternalError:
    """Log an unknown error once, with its cause, under a number that the client is told."""
    incident_id = uuid.uuid4().hex
    _log.error("incident", incident_id=incident_id, method=method, exc_info=error)
    return InternalError(incident_id=incident_id)


def _write_log(call: Call, context: grpc.ServicerContext, *, duration_s: float) -> None:
    """Write a call's one line: who, what, how it ended, how long. Never money, never tokens."""
    _log.info(
        "call",
        method=call.method,
        code=code_of(call.failure).name if call.failure else "OK",
        reason=call.failure.reason if call.failure else "",
        duration_ms=round(duration_s * 1000, 3),
        caller=call.caller.user_id,
        request_id=call.request_id,
        replayed=call.is_replayed,
        peer=context.peer(),
    )
