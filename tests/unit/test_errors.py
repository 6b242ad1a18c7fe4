"""One table from errors to statuses: total, and in agreement with the contract."""

import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc import StatusCode
from wallet_client.v1.errors_pb2 import ErrorReason

from wallet_service.ledger import errors
from wallet_service.ledger.errors import (
    REFUSALS,
    Refusal,
    ValidationFailed,
    Value,
    Violation,
    WalletError,
)
from wallet_service.transport.status import CODES, DOMAIN, code_of, status_of
from wallet_service.transport.validation import VIOLATIONS_MAX

ACCOUNT: dict[str, Value] = {"user_id": "alice", "currency_code": "RUB"}
FUNDS: dict[str, Value] = {"available": 300, "required": 500, "shortfall": 200}
HOLD: dict[str, Value] = {"hold_id": "a-b"}
ORIGINAL: dict[str, Value] = {"original_id": "a-b"}
LIMIT: dict[str, Value] = {
    "window": "CALENDAR_DAY",
    "limited": "amount",
    "limit": 1000,
    "remaining": 300,
    "required": 500,
    "reset_time": "2026-01-02T00:00:00+00:00",
}
#: The values of every error that has some, and of every error's code.
VALUES: dict[str, dict[str, Value]] = {
    "ACCOUNT_NOT_FOUND": ACCOUNT,
    "ACCOUNT_CLOSED": ACCOUNT,
    "ACCOUNT_FROZEN": ACCOUNT | {"state": "NO_DEBITS"},
    "INSUFFICIENT_FUNDS": ACCOUNT | FUNDS,
    "HOLD_NOT_ACTIVE": HOLD | {"state": "VOIDED"},
    "HOLD_EXPIRED": HOLD,
    "CAPTURE_EXCEEDS_HOLD": HOLD | {"remaining": 300, "required": 500},
    "REVERSAL_EXCEEDS_ORIGINAL": ORIGINAL | {"remaining": 300, "required": 500},
    "NOT_REVERSIBLE": ORIGINAL | {"state": "POSTED", "kind": "HOLD"},
    "CONDITION_FAILED": {"condition": "expected_sequence", "actual": 7, "required": 6},
    "LIMIT_EXCEEDED": ACCOUNT | LIMIT,
    "ACCOUNT_NOT_EMPTY": ACCOUNT,
    "BATCH_REFUSED": {"failed_index": 3, "failed_reason": "INSUFFICIENT_FUNDS"},
    "BALANCE_LIMIT": ACCOUNT | {"balance_max": 9 * 10**18},
    "REQUEST_ID_REUSED": {"fields": "amount,metadata", "transaction_id": "a-b"},
    "CURRENCY_UNSUPPORTED": {"field": "amount.currency_code", "currency_code": "rub"},
    "PAGE_TOKEN_INVALID": {"field": "page_token"},
    "SAME_ACCOUNT": {"field": "to_user_id"},
    "SCOPE_MISSING": {"scope": "wallet:admin"},
    "NOT_ALLOWED": {"why": "not yours"},
    "LEDGER_CORRUPT": {"row": "entries alice/RUB #3", "problem": "missing"},
    "INTERNAL": {"incident_id": "1234"},
}
EXPECTED_CODES = {
    "INVALID_ARGUMENT": "VALIDATION_FAILED CURRENCY_UNSUPPORTED PAGE_TOKEN_INVALID SAME_ACCOUNT",
    "UNAUTHENTICATED": "TOKEN_MISSING TOKEN_INVALID TOKEN_EXPIRED",
    "PERMISSION_DENIED": "SCOPE_MISSING NOT_ALLOWED",
    "NOT_FOUND": "ACCOUNT_NOT_FOUND HOLD_NOT_FOUND TRANSACTION_NOT_FOUND",
    "ALREADY_EXISTS": "REQUEST_ID_REUSED",
    "FAILED_PRECONDITION": (
        "INSUFFICIENT_FUNDS ACCOUNT_FROZEN ACCOUNT_CLOSED ACCOUNT_NOT_EMPTY HOLD_NOT_ACTIVE"
        " HOLD_EXPIRED CAPTURE_EXCEEDS_HOLD REVERSAL_EXCEEDS_ORIGINAL NOT_REVERSIBLE"
        " BALANCE_LIMIT LIMIT_EXCEEDED CONDITION_FAILED BATCH_REFUSED"
    ),
    "ABORTED": "CONTENTION",
    "RESOURCE_EXHAUSTED": "OVERLOADED TOO_MANY_STREAMS",
    "UNAVAILABLE": "DATABASE_UNAVAILABLE SHUTTING_DOWN OUTCOME_UNKNOWN KEYS_UNAVAILABLE",
    "DEADLINE_EXCEEDED": "DEADLINE_EXCEEDED",
    "DATA_LOSS": "LEDGER_CORRUPT",
    "INTERNAL": "INTERNAL",
}
#: What a lookup or the sweeper raises and nobody records: the same reasons as of two refusals.
TWINS: dict[type[WalletError], type[Refusal]] = {
    errors.TransactionNotFound: errors.OriginalNotFound,
    errors.HoldNotDue: errors.HoldNotActive,
}
RETRYABLE = {"ABORTED", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}


def leaves(kind: type[WalletError] = WalletError) -> list[type[WalletError]]:
    """Return the error classes that are raised: those with a reason of their own."""
    own = [kind] if "reason" in vars(kind) else []
    return own + [leaf for child in kind.__subclasses__() for leaf in leaves(child)]


def example(kind: type[WalletError]) -> WalletError:
    """Make one error of a kind."""
    if issubclass(kind, ValidationFailed):
        return kind([Violation("amount.minor_units", "must be more"), Violation("user_id", "odd")])
    return kind(**VALUES.get(kind.reason, {}))


def details_of(error: WalletError) -> list[Message]:
    """Unpack the details of an error's status; one of another type is a failure."""
    return [_unpacked(detail) for detail in status_of(error).details]


def _unpacked(detail: Any) -> Message:
    for kind in (ErrorInfo, BadRequest, RetryInfo):
        message: Message = kind()
        if detail.Unpack(message):
            return message
    raise AssertionError(detail.type_url)


LEAVES = leaves()


@pytest.mark.parametrize("kind", LEAVES)
def test_every_errors_reason_is_in_the_contract(kind: type[WalletError]) -> None:
    assert f"ERROR_REASON_{kind.reason}" in ErrorReason.keys()  # noqa: SIM118 (no dictionary)


def test_no_two_errors_share_a_reason_but_for_twins_of_one_meaning() -> None:
    reasons = [kind.reason for kind in LEAVES if kind not in TWINS]

    assert sorted(reasons) == sorted(set(reasons))
    assert all(one.reason == other.reason for one, other in TWINS.items())
    assert all(code_of(example(one)) == code_of(example(other)) for one, other in TWINS.items())


def test_every_error_ends_in_the_documented_code() -> None:
    expected = {
        reason: code for code, reasons in EXPECTED_CODES.items() for reason in reasons.split()
    }

    assert {kind.reason: code_of(example(kind)).name for kind in LEAVES} == expected


def test_the_table_of_codes_names_errors_of_the_tree_only() -> None:
    assert all(issubclass(kind, WalletError) for kind in CODES)
    assert StatusCode.OK not in CODES.values()
    assert StatusCode.UNKNOWN not in CODES.values()


@pytest.mark.parametrize("kind", LEAVES)
def test_every_status_says_one_reason_with_its_values(kind: type[WalletError]) -> None:
    error = example(kind)
    status = status_of(error)
    infos = [detail for detail in details_of(error) if isinstance(detail, ErrorInfo)]

    assert len(infos) == 1
    assert (infos[0].reason, infos[0].domain) == (kind.reason, DOMAIN) == (kind.reason, "wallet.v1")
    assert dict(infos[0].metadata) == {name: str(value) for name, value in error.values.items()}
    assert status.code == code_of(error).value[0]
    assert status.message == str(error) != ""


@pytest.mark.parametrize("kind", LEAVES)
def test_only_what_may_be_sent_again_says_when(kind: type[WalletError]) -> None:
    error = example(kind)
    delays = [detail for detail in details_of(error) if isinstance(detail, RetryInfo)]

    assert bool(delays) == (code_of(error).name in RETRYABLE)
    assert all(delay.retry_delay.ToNanoseconds() > 0 for delay in delays)


@pytest.mark.parametrize(
    ("error", "fields"),
    [
        (example(errors.ValidationFailed), ["amount.minor_units", "user_id"]),
        (example(errors.CurrencyUnsupported), ["amount.currency_code"]),
        (example(errors.PageTokenInvalid), ["page_token"]),
        (example(errors.SameAccount), ["to_user_id"]),
        (example(errors.RequestIdReused), ["amount", "metadata"]),
        (example(errors.InsufficientFunds), None),
        (example(errors.TokenInvalid), None),
    ],
    ids=lambda value: value.reason if isinstance(value, WalletError) else "",
)
def test_wrong_fields_are_named(error: WalletError, fields: list[str] | None) -> None:
    requests = [detail for detail in details_of(error) if isinstance(detail, BadRequest)]
    named = [[one.field for one in request.field_violations] for request in requests]

    assert named == ([] if fields is None else [fields])
    assert all(one.description for request in requests for one in request.field_violations)


@pytest.mark.parametrize("reason", REFUSALS)
def test_a_refusal_is_rebuilt_from_what_is_stored(reason: str) -> None:
    refusal = example(REFUSALS[reason])

    again = REFUSALS[reason](**refusal.values)

    assert type(again) is type(refusal)
    assert (str(again), again.values) == (str(refusal), refusal.values)


def test_every_refusal_can_be_rebuilt() -> None:
    assert set(REFUSALS.values()) == set(leaves(Refusal))
    assert REFUSALS.keys() == {kind.reason for kind in leaves(Refusal)}


def test_a_message_states_its_values() -> None:
    message = str(example(errors.InsufficientFunds))

    assert message == "account alice/RUB: 300 available, 500 required, 200 short"


def test_values_that_look_like_a_template_are_left_alone() -> None:
    error = errors.NotAllowed(why="{scope} {0} %s")

    assert str(error) == "{scope} {0} %s"


def test_the_longest_list_of_wrong_fields_fits_the_trailers() -> None:
    text = "must be 1 to 128 visible ASCII characters, made by the caller and kept for retries"
    worst = ValidationFailed([Violation("amount.currency_code", text)] * VIOLATIONS_MAX)

    # Clients take 8 KiB of trailers in all. Base64 makes these bytes a third more, and the message
    # travels once more beside them.
    assert status_of(worst).ByteSize() < 4096
