"""How calls are sent: with a token, a deadline, and again where that is safe and can help."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Self, TypedDict, TypeVar

import grpc
import uuid_utils
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from wallet_client.coalesce import Coalescer, Credentials
from wallet_client.errors import InvalidRequest, OutcomeUnknown, Refused, Undecided, WalletError
from wallet_client.statuses import RETRYABLE, error_from, keep_doubt
from wallet_client.v1.wallet_admin_service_pb2_grpc import WalletAdminServiceStub
from wallet_client.v1.wallet_service_pb2 import ExecuteBatchRequest, ExecuteBatchResponse
from wallet_client.v1.wallet_service_pb2_grpc import WalletServiceStub

_OPTIONS = [
    ("grpc.enable_retries", 0),  # retries are made here, where the request id is kept
    ("grpc.keepalive_time_ms", 30_000),
    # Whoever was away for long is looked for as often as who just left: by default up to 2 minutes
    # pass between two tries to connect, in which all calls fail.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # The server ends pages at 3 MiB; the answer to a large batch can be 4.
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
]

#: Some centuries later gRPC's own numbers end.
_TIMEOUT_S_MAX = 10**9

_Response = TypeVar("_Response")


class WriteOptions(TypedDict, total=False):
    """
    What every write may be given.

    `request_id` is made where it is missing. `validate_only` asks what would happen.
    """

    request_id: str
    description: str
    metadata: Mapping[str, str]
    validate_only: bool


def new_request_id() -> str:
    """Make a request id that is ordered in time (UUIDv7), which the service stores best."""
    return str(uuid_utils.uuid7())


def with_request_id(options: WriteOptions) -> WriteOptions:
    """Return the options of a write with a request id among them; `TypeError` for unknown ones."""
    unknown = options.keys() - WriteOptions.__annotations__.keys()
    if unknown:
        raise TypeError(f"no such options: {', '.join(sorted(unknown))}")
    return {**options, "request_id": options.get("request_id") or new_request_id()}


class Connection:
    """
    A channel to the service and the way its calls are tried.

    Args:
        target: `host:port`, or `dns:///host:port` to spread calls over all addresses of a name.

        token: The JWT, or a function that returns a fresh one for each try.

        plaintext: Speak without TLS.

        root_certificates: Authorities to trust, in PEM; None: the system's.

        client_certificate: A private key and its certificate chain, in PEM, for a server that
            demands one.

        timeout_s: The deadline of each try, in seconds; longer than a server goes on trying itself
            (5 s by default), whose answer says more than that the time is over.

        attempts_max: Tries in all, where the service was unavailable, busy or too slow.

        coalesce: Gather the writes that many threads make within a millisecond, and send those of
            one token as one batch: more throughput, and a millisecond more of latency. A token
            function is then asked on each call's own thread too, before it gathers; it should
            answer with the same until that is about to end.
    """

    def __init__(
        self,
        target: str,
        token: str | Callable[[], str],
        *,
        plaintext: bool = False,
        root_certificates: bytes | None = None,
        client_certificate: tuple[bytes, bytes] | None = None,
        timeout_s: float = 10.0,
        attempts_max: int = 5,
        coalesce: bool = False,
    ) -> None:
        if not 0 < timeout_s <= _TIMEOUT_S_MAX:
            raise ValueError(f"timeout_s: must be above 0, at most {_TIMEOUT_S_MAX}: {timeout_s}")
        self._token = token if callable(token) else lambda: token
        self._renews_token = callable(token)
        self._timeout_s = timeout_s
        self._attempts_max = attempts_max
        self._is_closed = False
        if plaintext:
            self._channel = grpc.insecure_channel(target, _OPTIONS)
        else:
            credentials = grpc.ssl_channel_credentials(
                root_certificates, *(client_certificate or ())
            )
            self._channel = grpc.secure_channel(target, credentials, _OPTIONS)
        self._service = WalletServiceStub(self._channel)
        self._admin = WalletAdminServiceStub(self._channel)
        self._coalescer = Coalescer(self._execute) if coalesce else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; calls under way fail with `OutcomeUnknown`, and so do later ones."""
        self._is_closed = True  # first, so that what this cuts off is not tried again
        self._channel.close()

    def _call(self, method: Callable[..., _Response], request: Any) -> _Response:
        """Send what writes nothing until it is answered."""
        return self._tried(partial(self._send, method, request))

    def _tried(self, send: Callable[[], _Response]) -> _Response:
        """Send a request, always the same, as often as that can help."""
        retrying = Retrying(
            retry=retry_if_exception(self._may_succeed_later),
            wait=wait_random_exponential(multiplier=0.05, max=1.0),
            stop=stop_after_attempt(self._attempts_max),
            reraise=True,
        )
        response: _Response = retrying(send)
        return response

    def _settle(
        self, method: Callable[..., _Response], request: Any, *, is_in_doubt: bool = False
    ) -> _Response:
        """
        Send a write until it is answered for good.

        Once a try may have arrived, only an answer from the books tells that nothing was done:
        whatever else a later try ends with is raised as `OutcomeUnknown`.
        """

        def send() -> _Response:
            nonlocal is_in_doubt
            try:
                response = self._send(method, request)
            except (Refused, InvalidRequest):
                raise
            except Exception as error:
                is_in_doubt = is_in_doubt or isinstance(error, OutcomeUnknown)
                if is_in_doubt and not isinstance(error, OutcomeUnknown):
                    raise _in_doubt(error, _request_id_of(request)) from error
                raise
            if is_in_doubt and isinstance(response, ExecuteBatchResponse):
                keep_doubt(response)
            return response

        return self._tried(send)

    def _write(self, method: Callable[..., _Response], request: Any) -> _Response:
        """Send a write by itself, or with those of other threads if that was chosen."""
        if self._coalescer is None or request.validate_only:
            return self._write_alone(method, request)
        alone = partial(self._settle, method, request)
        try:
            credentials = self._metadata(request)
        except Exception:  # noqa: BLE001 (by itself it is asked for again, and that raised)
            return alone()
        response: _Response = self._coalescer.call(request, credentials, alone)
        return response

    def _write_alone(self, method: Callable[..., _Response], request: Any) -> _Response:
        if request.validate_only:
            return self._call(method, request)
        return self._settle(method, request)

    def _execute(self, request: ExecuteBatchRequest) -> ExecuteBatchResponse:
        return self._settle(self._service.ExecuteBatch, request)

    def _rows(self, method: Callable[..., Any], request: Any, field: str) -> Iterator[Any]:
        """Yield the rows of a listing, asking for its pages as they are needed."""
        while True:
            page = self._call(method, request)
            yield from getattr(page, field)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def _send(self, method: Callable[..., _Response], request: Any) -> _Response:
        metadata = self._metadata(request)
        with self._failures_told(request):
            return method(request, timeout=self._timeout_s, metadata=metadata)

    def _metadata(self, request: Any) -> Credentials:
        try:
            token = self._token()
        except grpc.RpcError as error:  # tokens may come from a service too
            failure = error_from(error, request_id=_request_id_of(request))
            if isinstance(failure, OutcomeUnknown):  # of the token's request, not of this one
                failure = Undecided(str(failure), code=failure.code, request_id=failure.request_id)
            raise failure from error
        if not isinstance(token, str):
            raise TypeError(f"token: must be text, not {type(token).__name__}")
        return (("authorization", f"Bearer {token.strip()}"),)  # a file's content ends with a line

    @contextmanager
    def _failures_told(self, request: Any) -> Iterator[None]:
        """Turn what gRPC raises into errors of ours, which name the request."""
        request_id = _request_id_of(request)
        try:
            yield
        except grpc.RpcError as error:
            raise error_from(error, request_id=request_id) from error
        except ValueError as error:  # this is how gRPC says that its channel is closed
            if not self._is_closed:
                raise
            raise OutcomeUnknown(
                "the connection is closed", code=grpc.StatusCode.CANCELLED, request_id=request_id
            ) from error

    def _may_succeed_later(self, error: BaseException) -> bool:
        """Tell whether the same request may be sent again here and answered then."""
        return (
            not self._is_closed
            and isinstance(error, WalletError)
            and (
                isinstance(error, OutcomeUnknown)
                or error.code in RETRYABLE
                or error.reason == "OVERLOADED"
            )
        )


def _in_doubt(error: Exception, request_id: str) -> OutcomeUnknown:
    """Tell of an error that it came after a try that may have arrived."""
    if not isinstance(error, WalletError):
        return OutcomeUnknown(repr(error), code=grpc.StatusCode.UNKNOWN, request_id=request_id)
    return OutcomeUnknown(
        str(error),
        code=error.code,
        reason=error.reason,
        metadata=error.metadata,
        request_id=request_id,
        fields=error.fields,
    )


def _request_id_of(request: Any) -> str:
    return getattr(request, "request_id", "")
