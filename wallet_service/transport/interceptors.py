"""
What happens around every call, each concern once.

Outermost first: `RequestLog`, `Errors`, `Authentication`, `Deadlines`, `Decoding`. gRPC calls
`intercept_service` on its one serving thread, so each method's handler is wrapped once and
remembered; the work is done around the handler, on the call's own thread.
"""

import math
import time
import uuid
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias, cast

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
from wallet_service.transport.auth import POLICIES, Caller, TokenVerifier
from wallet_service.transport.status import code_of, status_of

_DETAILS_KEY = "grpc-status-details-bin"
_REPLAYED = ("wallet-replayed", "true")
_NOBODY = Caller("", frozenset(), 0.0)

_log = structlog.get_logger()

Behavior = Callable[[Any, grpc.ServicerContext], Any]
# Generic only in the type stubs, so spelled as text.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Handler | None]"


@dataclass(slots=True)
class Call:
    """What is known of the call under way. `deadline` is on `time.monotonic()`'s clock."""

    method: str
    caller: Caller = _NOBODY
    deadline: float = math.inf
    request_id: str = ""
    is_replayed: bool = False
    reason: str = ""


_current: ContextVar[Call] = ContextVar("call")


def current_call() -> Call:
    """Return the call that this thread is handling."""
    return _current.get()


def is_ours(details: grpc.HandlerCallDetails) -> bool:
    """Tell the wallet's methods from health and reflection, which need no token."""
    method: str = details.method
    return method.startswith("/wallet.")


def abort(
    context: grpc.ServicerContext, error: WalletError, *trailers: tuple[str, str]
) -> NoReturn:
    """End a call with an error and its details."""
    status = status_of(error)
    context.set_trailing_metadata(
        (*trailers, (_DETAILS_KEY, status.SerializeToString(deterministic=True)))
    )
    context.abort(code_of(error), status.message)


class _HandlerInterceptor(grpc.ServerInterceptor):
    """Wraps the handler of each of the wallet's methods, once."""

    def __init__(self) -> None:
        self._wrapped: dict[str, Handler] = {}

    def intercept_service(
        self,
        continuation: Continuation,
        details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """Return the wrapped handler of a call's method."""
        handler = continuation(details)
        if handler is None or not is_ours(details):
            return handler
        wrapped = self._wrapped.get(details.method)
        if wrapped is None:
            wrapped = self._wrapped[details.method] = self._wrap(details.method, handler)
        return wrapped

    @abstractmethod
    def _wrap(self, method: str, handler: Handler) -> Handler:
        """Return a handler that does this interceptor's part too."""


class _CallInterceptor(_HandlerInterceptor):
    """Does something before and after each call, be it answered once or by a stream."""

    def _wrap(self, method: str, handler: Handler) -> Handler:
        inner = handler.unary_stream or handler.unary_unary
        assert inner

        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            with self.around(method, context):
                return inner(request, context)

        def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            with self.around(method, context):
                yield from inner(request, context)

        behavior = stream if handler.unary_stream else answer
        return _same_kind(handler, behavior, handler.request_deserializer)

    @abstractmethod
    def around(self, method: str, context: grpc.ServicerContext) -> AbstractContextManager[None]:
        """Do this interceptor's part before and after the call."""


def _same_kind(handler: Handler, behavior: Behavior, deserialize: Any) -> Handler:
    """Return a handler of the same kind, stream or not, with another behavior."""
    make = (
        grpc.unary_stream_rpc_method_handler
        if handler.unary_stream
        else grpc.unary_unary_rpc_method_handler
    )
    return make(behavior, deserialize, handler.response_serializer)


class RequestLog(_CallInterceptor):
    """Writes one line a call: who, what, how it ended, how long. Never money, never tokens."""

    @contextmanager
    def around(self, method: str, context: grpc.ServicerContext) -> Iterator[None]:
        """Time the call and log its end."""
        call = Call(method)
        _current.set(call)
        started = time.perf_counter()
        try:
            yield
        finally:
            code = cast("Any", context).code() or grpc.StatusCode.OK  # absent from the type stubs
            _log.info(
                "call",
                method=method,
                code=code.name,
                reason=call.reason,
                duration_ms=round((time.perf_counter() - started) * 1000, 3),
                caller=call.caller.user_id,
                request_id=call.request_id,
                replayed=call.is_replayed,
                peer=context.peer(),
            )


class Errors(_CallInterceptor):
    """Turns errors into statuses; nothing else leaves a handler."""

    @contextmanager
    def around(self, method: str, context: grpc.ServicerContext) -> Iterator[None]:
        """End the call with exactly one rich status."""
        call = current_call()
        try:
            yield
        except WalletError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 (the client learns only its number)
            failure = _incident(method, error)
        else:
            if call.is_replayed:
                context.set_trailing_metadata((_REPLAYED,))
            return
        call.reason = failure.reason
        trailers = (_REPLAYED,) if call.is_replayed else ()
        abort(context, failure, *trailers)


def _incident(method: str, error: Exception) -> InternalError:
    """Log an unknown error once, with its cause, under a number that the client is told."""
    incident_id = uuid.uuid4().hex
    _log.error("incident", incident_id=incident_id, method=method, exc_info=error)
    return InternalError(incident_id=incident_id)


class Authentication(_CallInterceptor):
    """Identifies the caller and checks the method's policy."""

    def __init__(self, verifier: TokenVerifier) -> None:
        super().__init__()
        self._verifier = verifier

    @contextmanager
    def around(self, method: str, context: grpc.ServicerContext) -> Iterator[None]:
        """Let the call pass with a known caller."""
        caller = self._verifier.caller_of(context.invocation_metadata())
        current_call().caller = caller
        caller.require(POLICIES[method])
        yield


class Deadlines(_CallInterceptor):
    """
    Gives every call a deadline, and does not begin one that is over.

    Args:
        default_s: For calls without one of their own.
    """

    def __init__(self, default_s: float) -> None:
        super().__init__()
        self._default_s = default_s

    @contextmanager
    def around(self, method: str, context: grpc.ServicerContext) -> Iterator[None]:  # noqa: ARG002 (the same for all methods)
        """Set the call's deadline."""
        remaining_s = context.time_remaining()
        # Without a deadline gRPC says 2^63 nanoseconds or so, not None.
        if remaining_s is None or remaining_s > 10**9:
            remaining_s = self._default_s
        if remaining_s <= 0:
            raise DeadlineExceeded
        current_call().deadline = time.monotonic() + remaining_s
        yield


class Decoding(_HandlerInterceptor):
    """
    Turns bytes into requests, innermost: nothing that a stranger sends is parsed.

    gRPC itself would answer undecodable bytes with INTERNAL before any handler runs; here they are
    what they are, an invalid argument.
    """

    def _wrap(self, method: str, handler: Handler) -> Handler:
        deserialize = handler.request_deserializer
        inner = handler.unary_stream or handler.unary_unary
        assert deserialize
        assert inner

        def decode(data: bytes, context: grpc.ServicerContext) -> Any:
            try:
                request = deserialize(data)
            except DecodeError as error:
                violation = Violation("request", f"these bytes are not a {method} request")
                raise ValidationFailed([violation]) from error
            return inner(request, context)

        return _same_kind(handler, decode, None)
