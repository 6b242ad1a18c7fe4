"""The rules for every field of a request, at their edges."""

from collections.abc import Callable, Mapping

import pytest

from wallet_service.ledger.errors import CurrencyUnsupported, ValidationFailed
from wallet_service.transport.validation import VIOLATIONS_MAX, Validation, is_user_id


def is_valid(check: Callable[[Validation], None]) -> bool:
    """Tell whether a request passes with one field checked; a violation names that field alone."""
    validation = Validation()
    check(validation)
    try:
        validation.finish()
    except ValidationFailed as error:
        named = {violation.field for violation in error.violations}
    else:
        return True
    assert named == {"field"}
    return False


@pytest.mark.parametrize(
    ("request_id", "valid"),
    [
        ("", False),
        ("1", True),
        ("~!@#$%^&*()", True),
        ("a" * 128, True),
        ("a" * 129, False),
        ("a b", False),
        (" a", False),
        ("a\n", False),
        ("a\r\nb", False),
        ("a\tb", False),
        ("a\0", False),
        ("a\x7f", False),
        ("é", False),
        ("ⅷ", False),
        ("a\u200b", False),
        ("@system", True),
    ],
)
def test_a_request_id_is_visible_ascii(request_id: str, *, valid: bool) -> None:
    assert is_valid(lambda check: check.request_id("field", request_id)) == valid


@pytest.mark.parametrize(
    ("user_id", "valid"),
    [
        ("a", True),
        ("alice@example.org", True),
        ("a" * 128, True),
        ("a" * 129, False),
        ("@external", False),
        ("@system", False),
        ("@", False),
        ("a@", True),
        ("?", True),
        ("A", True),
        ("alice bob", False),
        ("alice\n", False),
        ("al\0ice", False),
        ("алиса", False),
        ("\uff20external", False),
        ("a\x7f", False),
    ],
)
def test_a_user_id_is_visible_ascii_and_not_one_of_ours(user_id: str, *, valid: bool) -> None:
    assert is_user_id(user_id) == valid
    for may_be_empty in (True, False):
        assert valid == is_valid(
            lambda check, empty=may_be_empty: check.user_id("field", user_id, may_be_empty=empty)
        )


@pytest.mark.parametrize("may_be_empty", [True, False])
def test_a_user_id_may_be_left_out_where_the_caller_is_meant(*, may_be_empty: bool) -> None:
    assert not is_user_id("")
    assert may_be_empty == is_valid(
        lambda check: check.user_id("field", "", may_be_empty=may_be_empty)
    )


@pytest.mark.parametrize(
    ("amount_minor", "valid"),
    [
        (-(2**63), False),
        (-1, False),
        (0, False),
        (1, True),
        (2**53 + 1, False),
        (10**15 - 1, True),
        (10**15, True),
        (10**15 + 1, False),
        (2**63 - 1, False),
    ],
)
def test_an_amount_is_one_minor_unit_to_a_thousand_billion(
    amount_minor: int, *, valid: bool
) -> None:
    assert is_valid(lambda check: check.amount_minor("field", amount_minor)) == valid


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("", True),
        ("a" * 256, True),
        ("a" * 257, False),
        ("\U0001f4b8" * 256, True),
        ("\U0001f4b8" * 257, False),
        ("line\nline", True),
        ("a\0b", False),
        ("\0", False),
    ],
)
def test_a_description_has_up_to_256_characters(text: str, *, valid: bool) -> None:
    assert is_valid(lambda check: check.description("field", text)) == valid


@pytest.mark.parametrize(
    ("labels", "valid"),
    [
        ({}, True),
        ({f"key{number}": "value" for number in range(32)}, True),
        ({f"key{number}": "value" for number in range(33)}, False),
        ({"": "value"}, False),
        ({"k" * 64: ""}, True),
        ({"k" * 65: ""}, False),
        ({"\u043a" * 64: ""}, True),
        ({"key": "v" * 256}, True),
        ({"key": "v" * 257}, False),
        ({"key": "a\0"}, False),
        ({"a\0": "value"}, False),
        ({"good": "one", "key": "a\0"}, False),
    ],
    ids=lambda value: str(value)[:20],
)
def test_labels_are_few_and_short(labels: Mapping[str, str], *, valid: bool) -> None:
    assert is_valid(lambda check: check.metadata("field", labels)) == valid


@pytest.mark.parametrize(
    ("transaction_id", "valid"),
    [
        ("3d8db05c-cc4e-82bd-a2eb-709804642db6", True),
        ("3D8DB05C-CC4E-82BD-A2EB-709804642DB6", True),
        ("00000000-0000-0000-0000-000000000000", True),
        ("", False),
        ("3d8db05ccc4e82bda2eb709804642db6", False),
        ("{3d8db05c-cc4e-82bd-a2eb-709804642db6}", False),
        ("3d8db05c-cc4e-82bd-a2eb-709804642db6\n", False),
        ("3d8db05c-cc4e-82bd-a2eb-709804642dbg", False),
        ("3d8db05c-cc4e-82bd-a2eb-709804642db٦", False),
    ],
)
def test_a_transaction_id_is_a_uuid(transaction_id: str, *, valid: bool) -> None:
    assert is_valid(lambda check: check.transaction_id("field", transaction_id)) == valid


@pytest.mark.parametrize("code", ["rub", "RUR", "XAU", "", "RUB ", "RUBLES", "РУБ", "\0\0\0"])
def test_an_unknown_currency_is_told_by_its_own_reason(code: str) -> None:
    validation = Validation()
    validation.currency_code("field", code)

    with pytest.raises(CurrencyUnsupported) as unsupported:
        validation.finish()

    assert unsupported.value.values == {"field": "field", "currency_code": code}


@pytest.mark.parametrize("code", ["RUB", "JPY", "KWD", "USD"])
def test_current_currencies_pass(code: str) -> None:
    assert is_valid(lambda check: check.currency_code("field", code))


def test_all_that_is_wrong_is_told_at_once() -> None:
    validation = Validation()
    validation.request_id("request_id", "")
    validation.amount_minor("amount.minor_units", -5)
    validation.description("description", "fine")
    validation.metadata("metadata", {"": "v" * 257})

    with pytest.raises(ValidationFailed) as failed:
        validation.finish()

    fields = [violation.field for violation in failed.value.violations]
    assert fields == ["request_id", "amount.minor_units", "metadata", "metadata"]
    assert failed.value.values == {"fields": "request_id,amount.minor_units,metadata"}
    assert "amount.minor_units: must be 1 to 1000000000000000" in str(failed.value)


def test_an_unknown_currency_is_told_along_with_what_else_is_wrong() -> None:
    validation = Validation()
    validation.currency_code("amount.currency_code", "rub")
    validation.request_id("request_id", "")

    with pytest.raises(ValidationFailed) as failed:
        validation.finish()

    fields = {violation.field for violation in failed.value.violations}
    assert fields == {"amount.currency_code", "request_id"}


def test_very_many_violations_are_cut_off() -> None:
    validation = Validation()
    for number in range(VIOLATIONS_MAX + 5):
        validation.require(f"field{number}", "must not be", holds=False)

    with pytest.raises(ValidationFailed) as failed:
        validation.finish()

    assert len(failed.value.violations) == VIOLATIONS_MAX
