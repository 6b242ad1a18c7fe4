"""Who may call: every method of both services, before any SQL."""

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import jwt
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from harness.calls import METHODS, Caller, Serving, balances_of, connections_taken, serving, user
from harness.tokens import SECRET, bearer, service_token, token
from wallet_client.v1.types_pb2 import HOLD_STATE_ACTIVE, Money
from wallet_client.v1.wallet_admin_service_pb2 import (
    GetAccountRequest,
    ListAccountChangesRequest,
    ListAccountsRequest,
    OpenAccountRequest,
    UpdateAccountRequest,
)
from wallet_client.v1.wallet_service_pb2 import (
    CaptureHoldRequest,
    CreateHoldRequest,
    DepositRequest,
    ExecuteBatchRequest,
    GetBalanceRequest,
    GetHoldRequest,
    GetTransactionRequest,
    ListBalancesRequest,
    ListHoldsRequest,
    ListTransactionsRequest,
    ReverseTransactionRequest,
    TransferRequest,
    VoidHoldRequest,
    WatchTransactionsRequest,
    WithdrawRequest,
)

from wallet_service.ledger.ids import transaction_id

ALL_SCOPES = "wallet:act-for-any wallet:admin"
ONE = Money(minor_units=1)
TWO = Money(minor_units=2)

CLAIMS = {
    "iss": "wallet",
    "aud": "wallet",
    "sub": "service",
    "exp": int(time.time()) + 3600,
    "scope": ALL_SCOPES,
}
GOOD = service_token()
UNTOUCHED = {("bob", "RUB"): (100, 2)}
USED = {("bob", "RUB"): (98, 8)}
MISSING = ("UNAUTHENTICATED", "TOKEN_MISSING")
INVALID = ("UNAUTHENTICATED", "TOKEN_INVALID")
EXPIRED = ("UNAUTHENTICATED", "TOKEN_EXPIRED")


def claiming(**claims: object) -> str:
    return token("service", scope=ALL_SCOPES, **claims)


def signed(**options: object) -> str:
    return jwt.encode(CLAIMS, **{"key": SECRET, "algorithm": "HS256", **options})


def header(*values: str) -> tuple[tuple[str, str], ...]:
    return tuple(("authorization", value) for value in values)


BAD_TOKENS = {
    "none": (header(), MISSING),
    "empty": (header(""), MISSING),
    "only a scheme": (header("Bearer "), MISSING),
    "another scheme": (header(f"Basic {GOOD}"), MISSING),
    "no scheme": (header(GOOD), MISSING),
    "under another name": ((("token", f"Bearer {GOOD}"),), MISSING),
    "garbage": (header("Bearer garbage"), INVALID),
    "garbage in three parts": (header("Bearer a.b.c"), INVALID),
    "a changed signature": (header(f"Bearer {GOOD[:-6]}AAAAAA"), INVALID),
    "no signature": (header(f"Bearer {GOOD.rpartition('.')[0]}."), INVALID),
    "twice": (header(f"Bearer {GOOD}", f"Bearer {GOOD}"), INVALID),
    "algorithm none": (header(f"Bearer {signed(key=None, algorithm='none')}"), INVALID),
    "another algorithm": (header(f"Bearer {signed(key=SECRET * 2, algorithm='HS512')}"), INVALID),
    "another secret": (header(f"Bearer {signed(key=b'another secret' * 3)}"), INVALID),
    "another type": (header(f"Bearer {signed(headers={'typ': 'id+jwt'})}"), INVALID),
    "another audience": (header(f"Bearer {claiming(aud='shop')}"), INVALID),
    "no audience": (header(f"Bearer {claiming(aud=None)}"), INVALID),
    "another issuer": (header(f"Bearer {claiming(iss='wallet.example')}"), INVALID),
    "no issuer": (header(f"Bearer {claiming(iss=None)}"), INVALID),
    "no subject": (header(f"Bearer {claiming(sub=None)}"), INVALID),
    "an empty subject": (header(f"Bearer {claiming(sub='')}"), INVALID),
    "a subject of the service's own": (header(f"Bearer {claiming(sub='@system')}"), INVALID),
    "a subject with a space": (header(f"Bearer {claiming(sub='al ice')}"), INVALID),
    "no expiry": (header(f"Bearer {claiming(exp=None)}"), INVALID),
    "expired": (header(f"Bearer {claiming(exp=int(time.time()) - 1)}"), EXPIRED),
    "long expired": (header(f"Bearer {claiming(exp=1)}"), EXPIRED),
    "not yet valid": (header(f"Bearer {claiming(nbf=int(time.time()) + 3600)}"), INVALID),
    "scopes in a list": (header(f"Bearer {token('service', scope=[ALL_SCOPES])}"), INVALID),
}


def admin_requests_for(user_id: str) -> list[Message]:
    """Make a good request for each method of the operator's."""
    return [
        OpenAccountRequest(user_id=user_id, request_id="open"),
        GetAccountRequest(user_id=user_id),
        UpdateAccountRequest(user_id=user_id, state="ACCOUNT_STATE_ACTIVE", request_id="update"),
        ListAccountsRequest(user_id=user_id),
        ListAccountChangesRequest(user_id=user_id),
    ]


def requests_for(user_id: str) -> list[Message]:
    """Make a good request for each other method that names a user."""
    operation = {"deposit": DepositRequest(user_id=user_id, amount=ONE, request_id="batch")}
    return [
        DepositRequest(user_id=user_id, amount=ONE, request_id="deposit"),
        TransferRequest(user_id=user_id, to_user_id="carol", amount=ONE, request_id="transfer"),
        WithdrawRequest(user_id=user_id, amount=ONE, request_id="withdraw"),
        CreateHoldRequest(user_id=user_id, amount=TWO, request_id="hold"),
        ExecuteBatchRequest(operations=[operation]),
        GetBalanceRequest(user_id=user_id),
        ListBalancesRequest(user_id=user_id),
        ListTransactionsRequest(user_id=user_id),
        ListHoldsRequest(user_id=user_id),
        WatchTransactionsRequest(user_id=user_id),
    ]


def requests_of(caller: str) -> list[Message]:
    """Make a good request for each method that names what `requests_for` made, or was given."""
    hold_id, gift_id = transaction_id(caller, "hold"), transaction_id("carol", "gift")
    return [
        CaptureHoldRequest(hold_id=hold_id, amount=ONE, keep_remainder=True, request_id="capture"),
        VoidHoldRequest(hold_id=hold_id, request_id="void"),
        GetHoldRequest(hold_id=hold_id),
        GetTransactionRequest(request_id="deposit"),
        ReverseTransactionRequest(transaction_id=gift_id, amount=ONE, request_id="reverse"),
    ]


EVERY_REQUEST = [*requests_for("bob"), *requests_of("service"), *admin_requests_for("bob")]


@pytest.fixture
def wallet(database_url: str, tmp_path: Path) -> Iterator[Serving]:
    """A server where bob and carol have money, some of his from her."""
    gift = TransferRequest(to_user_id="bob", amount=Money(minor_units=10), request_id="gift")
    with serving(database_url, tmp_path) as running:
        for user_id in ("bob", "carol"):
            with user(running.target, user_id) as caller:
                caller.send(DepositRequest(amount=Money(minor_units=90), request_id="start"))
        with user(running.target, "carol") as carol:
            carol.send(gift)
        yield running


def bobs_balance(wallet: Serving) -> dict[tuple[str, str], tuple[int, int]]:
    with user(wallet.target, "bob") as bob:
        return balances_of(bob, "bob")


def test_the_requests_tried_here_are_those_of_every_method() -> None:
    assert {type(request) for request in EVERY_REQUEST} == set(METHODS)
    assert len(EVERY_REQUEST) == len(METHODS)


def test_no_bad_token_passes_any_method_or_reaches_the_database(wallet: Serving) -> None:
    answers = {}
    with connections_taken(wallet.database) as taken:
        for name, (metadata, _) in BAD_TOKENS.items():
            with Caller(wallet.target, metadata) as caller:
                found = {caller.send(request).outcome for request in EVERY_REQUEST}
                answers[name] = found

    assert answers == {name: {expected} for name, (_, expected) in BAD_TOKENS.items()}
    assert taken == []
    assert bobs_balance(wallet) == UNTOUCHED


def test_a_token_of_nearly_the_longest_allowed_length_always_passes(wallet: Serving) -> None:
    long = claiming(padding="x" * 5930)
    with Caller(wallet.target, header(f"Bearer {long}")) as caller:
        codes = {caller.send(GetBalanceRequest(user_id="bob")).code.name for _ in range(200)}

    assert 8100 < len(long) <= 8192
    assert codes == {"OK"}


def test_a_token_beyond_the_longest_is_refused(wallet: Serving) -> None:
    # gRPC's own limit on metadata is a range within which it refuses some calls and not others.
    too_long = header(f"Bearer {claiming(padding='x' * 6200)}")
    with Caller(wallet.target, too_long) as caller:
        answers = {caller.send(request).code.name for request in EVERY_REQUEST}

    assert answers <= {"UNAUTHENTICATED", "RESOURCE_EXHAUSTED"}
    assert bobs_balance(wallet) == UNTOUCHED


def test_nothing_is_told_of_bytes_that_come_without_a_token(wallet: Serving) -> None:
    with Caller(wallet.target) as nobody:
        answers = {path: nobody.send_bytes(path, b"\xff").outcome for path in METHODS.values()}

    assert answers == dict.fromkeys(METHODS.values(), MISSING)


def test_a_missing_scope_is_told_before_a_wrong_field(wallet: Serving) -> None:
    with user(wallet.target, "alice") as alice:
        answer = alice.send(OpenAccountRequest(user_id="@", request_id=""))

    assert answer.outcome == ("PERMISSION_DENIED", "SCOPE_MISSING")


def test_a_user_cannot_name_another_user_existing_or_not(wallet: Serving) -> None:
    users, operators = requests_for("bob"), admin_requests_for("bob")
    others = requests_for("nobody") + admin_requests_for("nobody")
    with user(wallet.target, "alice") as alice, connections_taken(wallet.database) as taken:
        existing = [alice.send(request) for request in users + operators]
        missing = [alice.send(request) for request in others]

    assert {each.outcome for each in existing} == {("PERMISSION_DENIED", "SCOPE_MISSING")}
    assert [each.values["scope"] for each in existing] == [
        *["wallet:act-for-any"] * len(users),
        *["wallet:admin"] * len(operators),
    ]
    assert [each.details for each in existing] == [each.details for each in missing]
    assert [each.message for each in existing] == [each.message for each in missing]
    assert taken == []
    assert bobs_balance(wallet) == UNTOUCHED


def test_a_service_may_name_any_user(wallet: Serving) -> None:
    metadata = bearer("service", "wallet:act-for-any", "wallet:admin")
    with Caller(wallet.target, metadata) as service, connections_taken(wallet.database) as taken:
        answers = {type(each).__name__: service.send(each).code.name for each in EVERY_REQUEST}

    assert answers == {type(request).__name__: "OK" for request in EVERY_REQUEST}
    assert taken
    assert bobs_balance(wallet) == USED


def test_the_users_own_name_needs_no_scope(wallet: Serving) -> None:
    with user(wallet.target, "bob") as bob:
        answers = [bob.send(each).code.name for each in (*requests_for("bob"), *requests_of("bob"))]

    assert set(answers) == {"OK"}
    assert bobs_balance(wallet) == USED


@pytest.mark.parametrize(
    "scope", ["", "wallet:act-for-any", "wallet:administrator", "WALLET:ADMIN"]
)
def test_admin_methods_need_their_own_scope(wallet: Serving, scope: str) -> None:
    with user(wallet.target, "bob", scope) as bob, connections_taken(wallet.database) as taken:
        answers = [bob.send(request) for request in admin_requests_for("bob")]
        answers += [bob.send(request) for request in admin_requests_for("")]

    assert {each.outcome for each in answers} == {("PERMISSION_DENIED", "SCOPE_MISSING")}
    assert [each.values for each in answers] == [{"scope": "wallet:admin"}] * len(answers)
    assert taken == []
    assert bobs_balance(wallet) == UNTOUCHED


def test_the_admin_scope_alone_moves_nobodys_money(wallet: Serving) -> None:
    with user(wallet.target, "operator", "wallet:admin") as operator:
        moving = [operator.send(request).outcome for request in requests_for("bob")]
        keeping = [operator.send(request).code.name for request in admin_requests_for("bob")]

    assert set(moving) == {("PERMISSION_DENIED", "SCOPE_MISSING")}
    assert set(keeping) == {"OK"}
    assert bobs_balance(wallet) == UNTOUCHED


def test_the_admin_scope_alone_shows_and_undoes_nothing_of_others(wallet: Serving) -> None:
    gift = GetTransactionRequest(transaction_id=transaction_id("carol", "gift"))
    with user(wallet.target, "bob") as bob:
        bob.send(CreateHoldRequest(amount=TWO, request_id="hold"))

    with user(wallet.target, "operator", "wallet:admin") as operator:
        answers = {operator.send(each).code.name for each in (gift, *requests_of("bob"))}

    assert answers == {"NOT_FOUND"}
    assert bobs_balance(wallet) == UNTOUCHED
    with user(wallet.target, "bob") as bob:
        hold = bob.send(GetHoldRequest(hold_id=transaction_id("bob", "hold"))).response.hold
    assert (hold.captured.minor_units, hold.state) == (0, HOLD_STATE_ACTIVE)


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer"])
def test_the_scheme_may_be_written_in_any_case(wallet: Serving, scheme: str) -> None:
    with Caller(wallet.target, header(f"{scheme} {token('bob')}")) as bob:
        answer = bob.send(GetBalanceRequest())

    assert answer.response.balance.posted.minor_units == 100


def test_a_server_believes_the_issuer_and_for_the_audience_it_is_told(
    sqlite_url: str, tmp_path: Path
) -> None:
    issued = [("login", "shop"), ("shop", "login"), ("wallet", "wallet")]
    with serving(sqlite_url, tmp_path, jwt_issuer="login", jwt_audience="shop") as wallet:
        outcomes = []
        for issuer, audience in issued:
            metadata = header(f"Bearer {token('bob', iss=issuer, aud=audience)}")
            with Caller(wallet.target, metadata) as bob:
                outcomes.append(bob.send(GetBalanceRequest()).outcome)

    assert outcomes == [("OK", ""), INVALID, INVALID]


def test_health_and_reflection_need_no_token(wallet: Serving) -> None:
    with grpc.insecure_channel(wallet.target) as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        services = ProtoReflectionDescriptorDatabase(channel).get_services()

    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert "wallet.v1.WalletService" in services
