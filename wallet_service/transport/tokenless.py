"""Health checks and reflection: calls without a token, none of which keeps a thread for long."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from wallet_service.ledger.errors import WalletError
from wallet_service.transport.slow_peers import SlowPeers
from wallet_service.transport.status import abort

#: A probe's request comes with its call, and others queue behind it.
_WAIT_S = 0.5


def bounded(handler: "grpc.RpcMethodHandler[Any, Any]", peers: SlowPeers) -> Any:
    """Return a library's handler, for a call that has begun now, that does not wait for long."""
    until = time.monotonic() + _WAIT_S  # also if others keep the threads until then
    inner: Callable[..., Any] | None = (
        handler.stream_stream or handler.unary_stream or handler.unary_unary
    )
    assert inner

    def answer_one(
        requests: Iterator[Any], context: grpc.ServicerContext, *send: Callable[..., None]
    ) -> Any:
        try:
            request = peers.request(requests, context, until=until)
        except WalletError as error:
            abort(context, error)
        return inner(request, context, *send)

    def answer_all(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        try:
            yield from inner(peers.requests(requests, context, until=until), context)
        except WalletError as error:
            abort(context, error)

    answer = answer_all if handler.stream_stream else answer_one
    for name in ("experimental_thread_pool", "experimental_non_blocking"):
        setattr(answer, name, getattr(inner, name, None))
    make = (
        grpc.stream_stream_rpc_method_handler
        if handler.response_streaming
        else grpc.stream_unary_rpc_method_handler
    )
    return make(answer, handler.request_deserializer, handler.response_serializer)
