"""What may have been done is never told as not done, whatever becomes of later tries."""

import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
import wallet_client
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status
from harness.clients import gather_all
from wallet_client import OutcomeUnknown, Wallet, WalletError
from wallet_client.v1.types_pb2 import Balance, Money
from wallet_client.v1.wallet_service_pb2 import (
    DepositRequest,
    DepositResponse,
    ExecuteBatchRequest,
    ExecuteBatchResponse,
    WatchTransactionsRequest,
    WatchTransactionsResponse,
)
from wallet_client.v1.wallet_service_pb2_grpc import (
    WalletServiceServicer,
    add_WalletServiceServicer_to_server,
)

#: How a try ends: by a code, with the service's reason or without.
End = tuple[grpc.StatusCode, str]

CUT = (grpc.StatusCode.UNAVAILABLE, "")
RESET = (grpc.StatusCode.INTERNAL, "")
BROKEN = (grpc.StatusCode.UNKNOWN, "")
TOO_SLOW = (grpc.StatusCode.DEADLINE_EXCEEDED, "")
DATABASE_AWAY = (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
TOO_MUCH = (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
LATE = (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")
CONTENDED = (grpc.StatusCode.ABORTED, "CONTENTION")
FAULT = (grpc.StatusCode.INTERNAL, "INTERNAL")
FORBIDDEN = (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED")
SHORT = (grpc.StatusCode.FAILED_PRECONDITION, "INSUFFICIENT_FUNDS")
WRONG = (grpc.StatusCode.INVALID_ARGUMENT, "VALIDATION_FAILED")
UNKNOWN = (grpc.StatusCode.UNAVAILABLE, "OUTCOME_UNKNOWN")
USED = (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
FINE: End = (grpc.StatusCode.OK, "")


def status_of(code: grpc.StatusCode, reason: str) -> Status:
    """Write an end as the service does."""
    detail = AnyMessage()
    detail.Pack(ErrorInfo(domain="wallet.v1", reason=reason))
    return Status(code=code.value[0], message=reason, details=[detail])


class Scripted(WalletServiceServicer):
    """Ends one try after another as a script says, and the rest like its last."""

    def __init__(self, script: Sequence[End]) -> None:
        self._script = list(script)
        self.tries = 0
        self.error: Status | None = None

    def _end(self, context: grpc.ServicerContext) -> None:
        code, reason = self._script[min(self.tries, len(self._script) - 1)]
        self.tries += 1
        if code is grpc.StatusCode.OK:
            return
        if not reason:
            context.abort(code, "Socket closed")
        context.abort_with_status(rpc_status.to_status(status_of(code, reason)))

    def Deposit(  # noqa: N802 (the contract's name)
        self, _: DepositRequest, context: grpc.ServicerContext
    ) -> DepositResponse:
        self._end(context)
        return DepositResponse()

    def ExecuteBatch(  # noqa: N802 (as above)
        self, request: ExecuteBatchRequest, context: grpc.ServicerContext
    ) -> ExecuteBatchResponse:
        self._end(context)
        return ExecuteBatchResponse(results=[{"error": self.error} for _ in request.operations])

    def WatchTransactions(  # noqa: N802 (as above)
        self, _: WatchTransactionsRequest, context: grpc.ServicerContext
    ) -> Iterator[WatchTransactionsResponse]:
        self._end(context)
        yield from ()


@contextmanager
def scripted(*script: End) -> Iterator[tuple[Scripted, str]]:
    """Serve a script; yield it and its address."""
    servicer = Scripted(script)
    server = grpc.server(ThreadPoolExecutor(4))
    add_WalletServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield servicer, f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def failure_of(call: Callable[[], object]) -> Exception:
    """Return what a call raises."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 (it is looked at by who asks)
        call()
    return raised.value


def failure_after(*script: End) -> WalletError:
    """Deposit where tries end as a script says; return what is raised."""
    with (
        scripted(*script) as (_, target),
        Wallet(target, "token", plaintext=True, attempts_max=3) as wallet,
    ):
        error = failure_of(lambda: wallet.deposit(1, request_id="mine"))
    assert isinstance(error, WalletError)
    return error


@pytest.mark.parametrize("lost", [CUT, RESET, BROKEN, TOO_SLOW], ids=str)
@pytest.mark.parametrize("then", [CUT, DATABASE_AWAY, TOO_MUCH, LATE, FORBIDDEN], ids=str)
def test_once_an_answer_was_lost_no_later_try_tells_that_nothing_was_done(
    lost: End, then: End
) -> None:
    error = failure_after(lost, then)

    assert isinstance(error, OutcomeUnknown)
    assert error.request_id == "mine"
    assert (error.code, error.reason) == then


@pytest.mark.parametrize("then", [SHORT, WRONG], ids=str)
def test_what_the_books_say_settles_a_lost_answer(then: End) -> None:
    error = failure_after(CUT, then)

    assert not isinstance(error, wallet_client.Undecided)
    assert (error.code, error.reason) == then


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (DATABASE_AWAY, wallet_client.Undecided),
        (TOO_MUCH, wallet_client.Overloaded),
        (LATE, wallet_client.TokenExpired),
    ],
)
def test_where_no_answer_was_lost_nothing_was_done(end: End, told: type[WalletError]) -> None:
    assert type(failure_after(end)) is told


@pytest.mark.parametrize("target", ["127.0.0.1:1", "nobody.invalid:1"])
def test_where_nobody_listens_nothing_was_done(target: str) -> None:
    with Wallet(target, "token", plaintext=True, attempts_max=2) as wallet:
        error = failure_of(lambda: wallet.deposit(1))

    assert type(error) is wallet_client.Undecided


def test_a_lost_answer_to_what_only_asks_leaves_no_doubt() -> None:
    with scripted(CUT, FORBIDDEN) as (_, target), Wallet(target, "token", plaintext=True) as wallet:
        error = failure_of(lambda: wallet.deposit(1, validate_only=True))

    assert type(error) is wallet_client.NotAllowed


@pytest.mark.parametrize(
    ("end", "tries"),
    [
        *((end, 2) for end in (CUT, RESET, BROKEN, TOO_SLOW, DATABASE_AWAY, TOO_MUCH, CONTENDED)),
        *((end, 1) for end in (LATE, FORBIDDEN, SHORT, WRONG, USED, FAULT)),
    ],
    ids=str,
)
def test_only_what_another_try_may_mend_is_sent_again(end: End, tries: int) -> None:
    with scripted(end, FINE) as (service, target), Wallet(target, "token", plaintext=True) as it:
        if tries == 1:
            failure_of(lambda: it.deposit(1))
        else:
            it.deposit(1)

    assert service.tries == tries


def test_a_token_that_cannot_be_had_after_a_lost_answer_leaves_the_request_id() -> None:
    tokens = iter(["token"])

    def fetch_token() -> str:
        for token in tokens:
            return token
        raise LookupError("no token today")

    with (
        scripted(CUT) as (_, target),
        Wallet(target, fetch_token, plaintext=True) as wallet,
    ):
        error = failure_of(lambda: wallet.deposit(1, request_id="mine"))

    assert isinstance(error, OutcomeUnknown)
    assert error.request_id == "mine"
    assert isinstance(error.__cause__, LookupError)


def test_a_token_service_that_is_away_leaves_no_doubt() -> None:
    with scripted(CUT) as (_, tokens):

        def fetch_token() -> str:
            with grpc.insecure_channel(tokens) as channel:
                channel.unary_unary("/wallet.v1.WalletService/Deposit")(b"")
            return ""

        with scripted(FINE) as (service, target), Wallet(target, fetch_token, plaintext=True) as it:
            error = failure_of(lambda: it.deposit(1))

    assert type(error) is wallet_client.Undecided
    assert service.tries == 0


def test_a_batch_that_may_have_been_done_is_in_doubt_for_all_its_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with (
        scripted(CUT, FORBIDDEN) as (service, target),
        Wallet(target, "token", plaintext=True, coalesce=True, attempts_max=2) as wallet,
        ThreadPoolExecutor(3) as pool,
    ):
        gather_all(wallet, 3, monkeypatch)
        deposits = [pool.submit(wallet.deposit, 1, request_id=name) for name in "abc"]
        errors = [deposit.exception(timeout=30) for deposit in deposits]

    assert [type(error) for error in errors] == [OutcomeUnknown] * 3
    assert [error.request_id for error in errors if isinstance(error, WalletError)] == list("abc")
    assert service.tries == 2


@pytest.mark.parametrize(
    ("of_the_batch", "told"),
    [(UNKNOWN, OutcomeUnknown), (CONTENDED, wallet_client.NotAllowed)],
    ids=str,
)
def test_a_call_that_its_batch_left_open_is_in_doubt_where_it_may_be_done(
    of_the_batch: End, told: type[WalletError], monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        scripted(FINE, FORBIDDEN) as (service, target),
        Wallet(target, "token", plaintext=True, coalesce=True) as wallet,
        ThreadPoolExecutor(2) as pool,
    ):
        service.error = status_of(*of_the_batch)
        gather_all(wallet, 2, monkeypatch)
        deposits = [pool.submit(wallet.deposit, 1) for _ in range(2)]
        errors = [deposit.exception(timeout=30) for deposit in deposits]

    assert [type(error) for error in errors] == [told] * 2


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (CONTENDED, OutcomeUnknown),
        (FAULT, OutcomeUnknown),
        (SHORT, wallet_client.InsufficientFunds),
        (USED, wallet_client.RequestIdReused),
    ],
    ids=str,
)
def test_an_operation_that_a_batch_sent_again_does_not_decide_stays_in_doubt(
    end: End, told: type[WalletError]
) -> None:
    with (
        scripted(CUT, FINE) as (service, target),
        Wallet(target, "token", plaintext=True) as wallet,
    ):
        service.error = status_of(*end)
        (result,) = wallet.execute([DepositRequest()], atomic=False).results

    assert type(wallet_client.error_from_status(result.error)) is told


@pytest.mark.parametrize(("token", "tries"), [("token", 1), (lambda: "token", 3)])
def test_a_watch_whose_tokens_are_all_too_old_says_so(
    token: str | Callable[[], str], tries: int
) -> None:
    with (
        scripted(LATE) as (service, target),
        Wallet(target, token, plaintext=True, attempts_max=3) as wallet,
    ):
        error = failure_of(lambda: next(wallet.watch()))

    assert isinstance(error, wallet_client.TokenExpired)
    assert service.tries == tries


def test_a_watch_that_is_ended_in_order_is_taken_up_again_after_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("wallet_client.reading.time.sleep", pauses.append)
    with (
        scripted(FINE, FINE, FINE, FORBIDDEN) as (_, target),
        Wallet(target, "token", plaintext=True) as wallet,
    ):
        error = failure_of(lambda: next(wallet.watch()))

    assert isinstance(error, wallet_client.NotAllowed)
    assert len(pauses) == 3


def test_answers_travel_to_another_process_whole() -> None:
    balance = Balance(posted=Money(currency_code="RUB", minor_units=5), sequence=3)

    assert pickle.loads(pickle.dumps(balance)) == balance


def test_a_batch_takes_no_requests_of_other_kinds() -> None:
    request = wallet_client.v1.wallet_service_pb2.GetBalanceRequest()

    with (
        Wallet("127.0.0.1:1", "token", plaintext=True) as wallet,
        pytest.raises(TypeError, match="GetBalanceRequest"),
    ):
        wallet.execute([request], atomic=True)  # type: ignore[list-item]
