"""The servicer without a network: grpcio-testing calls it, the interceptors run around it."""

import functools
import queue
import time
from collections.abc import Callable, Iterator

import grpc
import grpc_testing
import pytest
from google.protobuf.message import Message
from harness.tokens import SECRET, bearer
from wallet_client.v1 import wallet_service_pb2 as pb
from wallet_client.v1.types_pb2 import Money, Transaction

from wallet_service.engine.combine import Combiner
from wallet_service.engine.execute import execute_batch
from wallet_service.engine.group_commit import GroupCommit
from wallet_service.engine.retry import settle
from wallet_service.ledger.books import Rules
from wallet_service.storage.database import Database, open_database
from wallet_service.storage.queries import read_balances
from wallet_service.transport.admission import Admission, CountingPool
from wallet_service.transport.auth import TokenVerifier
from wallet_service.transport.decode import Decoder
from wallet_service.transport.interceptors import Call, Calls, current_call
from wallet_service.transport.keys import key_of_secret
from wallet_service.transport.servicer import WalletServicer
from wallet_service.transport.slow_peers import SlowPeers
from wallet_service.transport.watch import Watches

SERVICE = pb.DESCRIPTOR.services_by_name["WalletService"]
TIMEOUT_S = 30
BANK = ("wallet:act-for-any",)


class InsideCalls:
    """
    A servicer with what happens around its methods, as the server puts it there.

    Each call is kept in `calls`.
    """

    def __init__(self, servicer: WalletServicer) -> None:
        verifier = TokenVerifier(
            lambda: [key_of_secret(SECRET)], issuer="wallet", audience="wallet"
        )
        pool = CountingPool(1)
        admission = Admission(pool, pool, unfinished_max=1)
        self._servicer = servicer
        peers = SlowPeers(answer_wait_s=TIMEOUT_S)
        self._calls = Calls(admission, verifier, peers, default_deadline_s=TIMEOUT_S)
        self.calls: queue.Queue[Call] = queue.Queue()

    def __getattr__(self, name: str) -> Callable[[Message, grpc.ServicerContext], Message]:
        method = f"/{SERVICE.full_name}/{name}"
        behavior = getattr(self._servicer, name)

        def answer(request: Message, context: grpc.ServicerContext) -> Message:
            context.peer = lambda: "nobody"  # type: ignore[method-assign]  (theirs raises)
            try:
                with self._calls.around(method, context):
                    response: Message = behavior(request, context)
                    return response
            finally:
                self.calls.put(current_call())

        return answer


class Caller:
    """Calls the servicer as one user."""

    def __init__(self, servicer: WalletServicer, user_id: str, *scopes: str) -> None:
        self._servicer = InsideCalls(servicer)
        self._server = grpc_testing.server_from_dictionary(
            {SERVICE: self._servicer}, grpc_testing.strict_real_time()
        )
        self._metadata = bearer(user_id, *scopes)

    def ends(self, name: str, request: Message) -> tuple[Message, str, str]:
        """Call; return the response, the status code and the reason of a failure."""
        rpc = self._server.invoke_unary_unary(
            SERVICE.methods_by_name[name], self._metadata, request, TIMEOUT_S
        )
        response, _, code, _ = rpc.termination()
        failure = self._servicer.calls.get(timeout=TIMEOUT_S).failure
        return response, code.name, failure.reason if failure else ""

    def call(self, name: str, request: Message) -> Message:
        """Call; return the response of a call that succeeds."""
        response, code, reason = self.ends(name, request)
        assert (code, reason) == ("OK", "")
        return response

    def fails(self, name: str, request: Message) -> tuple[str, str]:
        """Call; return code and reason of a call that fails."""
        response, code, reason = self.ends(name, request)
        assert response is None
        return code, reason

    def posted(self) -> int:
        """Return the caller's balance in minor units."""
        response = self.call("GetBalance", pb.GetBalanceRequest())
        assert isinstance(response, pb.GetBalanceResponse)
        return response.balance.posted.minor_units


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    opened = open_database(sqlite_url)
    yield opened
    opened.close()


def servicer_of(database: Database, *, self_deposit: bool = True) -> WalletServicer:
    """Build the servicer with everything real behind it."""
    rules = Rules(self_deposit=self_deposit)
    execute = functools.partial(execute_batch, database, rules=rules)
    engine = GroupCommit(functools.partial(settle, execute, timeout_s=5), batch_max=10)
    watches = Watches(database, streams_max=1, streams_per_caller_max=1)
    balances = Combiner(functools.partial(read_balances, database), batch_max=10)
    return WalletServicer(
        engine,
        database,
        balances=balances,
        decoder=Decoder("RUB"),
        watches=watches,
    )


@pytest.fixture
def servicer(database: Database) -> WalletServicer:
    return servicer_of(database)


@pytest.fixture
def alice(servicer: WalletServicer) -> Caller:
    return Caller(servicer, "alice")


@pytest.fixture
def bob(servicer: WalletServicer) -> Caller:
    return Caller(servicer, "bob")


def deposit(amount_minor: int, request_id: str = "in", user_id: str = "") -> pb.DepositRequest:
    return pb.DepositRequest(
        user_id=user_id, amount=Money(minor_units=amount_minor), request_id=request_id
    )


def transfer(to_user_id: str, amount_minor: int, request_id: str = "out") -> pb.TransferRequest:
    return pb.TransferRequest(
        to_user_id=to_user_id, amount=Money(minor_units=amount_minor), request_id=request_id
    )


def test_money_comes_in_moves_and_goes_out(alice: Caller, bob: Caller) -> None:
    alice.call("Deposit", deposit(10_000))
    bob.call("Deposit", deposit(100))
    sent = alice.call("Transfer", transfer("bob", 10_000))
    withdrawal = pb.WithdrawRequest(amount=Money(minor_units=100), request_id="cash")
    bob.call("Withdraw", withdrawal)

    assert (alice.posted(), bob.posted()) == (0, 10_000)
    assert isinstance(sent, pb.TransferResponse)
    assert sent.transaction.entry.balance_after.decimal == "0.00"
    assert sent.transaction.target_user_id == "bob"


def test_a_repeated_request_is_answered_as_before(alice: Caller) -> None:
    first = alice.call("Deposit", deposit(500))
    again = alice.call("Deposit", deposit(500))

    assert isinstance(first, pb.DepositResponse)
    assert isinstance(again, pb.DepositResponse)
    assert (first.replayed, again.replayed) == (False, True)
    assert again.transaction == first.transaction
    assert alice.posted() == 500


@pytest.mark.parametrize(
    ("name", "request_", "end"),
    [
        ("Transfer", transfer("bob", 501), ("FAILED_PRECONDITION", "INSUFFICIENT_FUNDS")),
        ("Transfer", transfer("bbo", 1), ("NOT_FOUND", "ACCOUNT_NOT_FOUND")),
        ("Transfer", transfer("alice", 1), ("INVALID_ARGUMENT", "SAME_ACCOUNT")),
        ("Transfer", transfer("bob", -1), ("INVALID_ARGUMENT", "VALIDATION_FAILED")),
        ("Transfer", transfer("bob", 1, ""), ("INVALID_ARGUMENT", "VALIDATION_FAILED")),
        ("Deposit", deposit(1), ("ALREADY_EXISTS", "REQUEST_ID_REUSED")),
        ("Deposit", deposit(1, "x", "bob"), ("PERMISSION_DENIED", "SCOPE_MISSING")),
        ("GetBalance", pb.GetBalanceRequest(user_id="bob"), ("PERMISSION_DENIED", "SCOPE_MISSING")),
        (
            "GetBalance",
            pb.GetBalanceRequest(currency_code="XXX"),
            ("INVALID_ARGUMENT", "CURRENCY_UNSUPPORTED"),
        ),
        (
            "GetTransaction",
            pb.GetTransactionRequest(request_id="never"),
            ("NOT_FOUND", "TRANSACTION_NOT_FOUND"),
        ),
        (
            "ListTransactions",
            pb.ListTransactionsRequest(page_size=-1),
            ("INVALID_ARGUMENT", "VALIDATION_FAILED"),
        ),
        (
            "ListTransactions",
            pb.ListTransactionsRequest(page_token="made up"),
            ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"),
        ),
    ],
)
def test_a_refused_call_says_why_and_moves_nothing(
    alice: Caller, bob: Caller, name: str, request_: Message, *, end: tuple[str, str]
) -> None:
    alice.call("Deposit", deposit(500))
    bob.call("Deposit", deposit(7))

    assert alice.fails(name, request_) == end
    assert (alice.posted(), bob.posted()) == (500, 7)


def test_a_call_without_a_token_is_turned_away(servicer: WalletServicer) -> None:
    stranger = Caller(servicer, "alice")
    stranger._metadata = ()

    assert stranger.fails("Deposit", deposit(5)) == ("UNAUTHENTICATED", "TOKEN_MISSING")
    assert Caller(servicer, "alice").posted() == 0


def test_only_services_deposit_where_the_operator_wants_it(database: Database) -> None:
    servicer = servicer_of(database, self_deposit=False)
    alice, bank = Caller(servicer, "alice"), Caller(servicer, "bank", *BANK)

    assert alice.fails("Deposit", deposit(5)) == ("PERMISSION_DENIED", "NOT_ALLOWED")
    assert alice.posted() == 0
    bank.call("Deposit", deposit(5, user_id="alice"))
    assert alice.posted() == 5


def test_a_deposit_done_when_users_might_is_answered_again_when_they_may_not(
    database: Database,
) -> None:
    Caller(servicer_of(database), "alice").call("Deposit", deposit(5))
    alice = Caller(servicer_of(database, self_deposit=False), "alice")

    again = alice.call("Deposit", deposit(5))

    assert isinstance(again, pb.DepositResponse)
    assert again.replayed
    assert alice.posted() == 5


def test_a_refused_request_can_be_looked_up_by_its_maker_only(alice: Caller, bob: Caller) -> None:
    bob.call("Deposit", deposit(1))
    alice.fails("Transfer", transfer("bob", 5))

    found = alice.call("GetTransaction", pb.GetTransactionRequest(request_id="out"))
    assert isinstance(found, pb.GetTransactionResponse)
    record = found.transaction
    by_id = pb.GetTransactionRequest(transaction_id=record.transaction_id)

    assert record.state == Transaction.STATE_REFUSED
    assert record.refusal_reason == "INSUFFICIENT_FUNDS"
    assert not record.HasField("entry")
    assert bob.fails("GetTransaction", by_id) == ("NOT_FOUND", "TRANSACTION_NOT_FOUND")


def test_pages_hold_every_line_once(alice: Caller) -> None:
    for number in range(1, 6):
        alice.call("Deposit", deposit(number, f"in-{number}"))

    amounts, token = [], ""
    while True:
        request = pb.ListTransactionsRequest(page_size=2, page_token=token)
        page = alice.call("ListTransactions", request)
        assert isinstance(page, pb.ListTransactionsResponse)
        amounts += [line.entry.amount.minor_units for line in page.transactions]
        token = page.next_page_token
        if not token:
            break

    assert amounts == [5, 4, 3, 2, 1]


def test_balances_are_listed_by_currency(alice: Caller) -> None:
    for code in ("USD", "EUR"):
        amount = Money(currency_code=code, minor_units=5)
        alice.call("Deposit", pb.DepositRequest(amount=amount, request_id=code))

    response = alice.call("ListBalances", pb.ListBalancesRequest())

    assert isinstance(response, pb.ListBalancesResponse)
    assert [balance.posted.currency_code for balance in response.balances] == ["EUR", "USD"]
    assert response.balances[0].as_of.seconds <= time.time()
