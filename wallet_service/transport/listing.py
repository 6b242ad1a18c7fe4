"""Listing requests: page sizes, filters, and the text that ties a page token to its listing."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from google.protobuf.message import Message
from wallet_client.v1 import types_pb2
from wallet_client.v1.wallet_service_pb2 import ListTransactionsRequest

from wallet_service.storage.history import LineFilter
from wallet_service.storage.pages import Page, Position
from wallet_service.transport.fields import time_us
from wallet_service.transport.page_token import make_page_token
from wallet_service.transport.validation import Validation

PAGE_SIZE_DEFAULT = 50
PAGE_SIZE_MAX = 1000

#: From here on a page takes no more rows: a client that chose nothing takes messages of 4 MiB.
PAGE_BYTES_MAX = 3 * 1024 * 1024


_Row = TypeVar("_Row")
_Message = TypeVar("_Message", bound=Message)


class _Request(Protocol):
    @property
    def page_size(self) -> int: ...


def page_size_of(validation: Validation, request: _Request) -> int:
    """Read how many rows a page may have."""
    validation.not_negative("page_size", request.page_size)
    return min(request.page_size or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


def listing_of(request: Message, *key: str) -> str:
    """Write everything that the pages of one listing share as text: its key and its filters."""
    shared = type(request)()
    shared.CopyFrom(request)
    for field in ("user_id", "currency_code", "page_size", "page_token"):
        shared.ClearField(field)
    text = shared.SerializeToString(deterministic=True).hex()
    return "\n".join((type(request).DESCRIPTOR.name, *key, text))


def page_of(
    page: Page[_Row],
    listing: str,
    encode: Callable[[_Row], _Message],
    position_of: Callable[[_Row], Position],
) -> tuple[list[_Message], str]:
    """
    Encode one page.

    Args:
        page: What was read; it also ends where it would be too large to be sent.

        listing: All parameters that the pages of one listing share, as text.

        encode: Makes a row's message.

        position_of: Tells a row's key.

    Returns:
        The messages, and the token of the next page; empty: there is none.
    """
    messages = []
    size = 0
    for row in page.rows:
        message = encode(row)
        messages.append(message)
        size += message.ByteSize()
        if size > PAGE_BYTES_MAX:
            break
    next_after = page.next_after
    if len(messages) < len(page.rows):
        next_after = position_of(page.rows[len(messages) - 1])
    return messages, make_page_token(next_after, listing) if next_after else ""


def line_filter_of(
    validation: Validation, request: ListTransactionsRequest, currency_code: str
) -> LineFilter:
    """Read which lines of an account are asked for."""
    validation.known("order", request.order, ListTransactionsRequest.Order)
    kinds = validation.names("kinds", request.kinds, types_pb2.Transaction.Kind)
    start_time = end_time = None
    if request.HasField("start_time"):
        start_time = time_us(validation, "start_time", request.start_time, is_bound=True)
    if request.HasField("end_time"):
        end_time = time_us(validation, "end_time", request.end_time, is_bound=True)
    validation.user_id("counterparty_user_id", request.counterparty_user_id, may_be_empty=True)
    bounds = []
    for name in ("amount_at_least", "amount_at_most"):
        bound: types_pb2.Money = getattr(request, name)
        validation.same_currency(name, bound.currency_code, currency_code)
        validation.not_negative(f"{name}.minor_units", bound.minor_units)
        bounds.append(bound.minor_units if request.HasField(name) else None)
    validation.metadata("metadata", request.metadata)
    return LineFilter(
        kinds=tuple(name.removeprefix("KIND_") for name in kinds),
        start_time=start_time,
        end_time=end_time,
        counterparty_user_id=request.counterparty_user_id or None,
        amount_minor_min=bounds[0],
        amount_minor_max=bounds[1],
        metadata=dict(request.metadata),
    )
