"""
Requests to send, made and serialized before the clock runs.

Each has a request id of its own (UUIDv7), so no load is ever answered from an earlier one.
"""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

from google.protobuf.message import Message
from google.protobuf.proto import serialize_length_prefixed
from wallet_client import new_request_id
from wallet_client.v1.types_pb2 import Money
from wallet_client.v1.wallet_service_pb2 import (
    DepositRequest,
    ExecuteBatchRequest,
    GetBalanceRequest,
    ListTransactionsRequest,
    TransferRequest,
)

ACCOUNTS = 10_000
OPENING_MINOR = 10**9
MERCHANT = "merchant"
HOT = ("user-1", "user-2")

Parties = Callable[[], tuple[str, str]]
Make = Callable[[], Message]


def user(number: int) -> str:
    """Name the user of a number."""
    return f"user-{number}"


def uniform() -> tuple[str, str]:
    """Choose any two of all users."""
    source, target = random.sample(range(ACCOUNTS), 2)
    return user(source), user(target)


def hot() -> tuple[str, str]:
    """Choose a direction between the same two users."""
    return HOT if random.random() < 0.5 else HOT[::-1]  # noqa: PLR2004 (either way)


def merchant() -> tuple[str, str]:
    """Choose who pays the merchant."""
    return user(random.randrange(ACCOUNTS)), MERCHANT


def transfer(parties: Parties) -> Make:
    """Make transfers between chosen parties."""

    def make() -> TransferRequest:
        source, target = parties()
        return TransferRequest(
            user_id=source,
            to_user_id=target,
            amount=Money(minor_units=random.randint(1, 1000)),
            request_id=new_request_id(),
            description="order 1734-22",
        )

    return make


def batch(size: int, *, atomic: bool) -> Make:
    """Make batches of transfers between any two users."""
    make_transfer = transfer(uniform)

    def make() -> ExecuteBatchRequest:
        request = ExecuteBatchRequest(atomic=atomic)
        for _ in range(size):
            request.operations.add().transfer.CopyFrom(make_transfer())
        return request

    return make


def balance() -> GetBalanceRequest:
    """Make a request for anybody's balance."""
    return GetBalanceRequest(user_id=user(random.randrange(ACCOUNTS)))


def page() -> ListTransactionsRequest:
    """Make a request for the newest 50 lines of a busy account."""
    return ListTransactionsRequest(user_id=random.choice(HOT), page_size=50)


def openings() -> Iterator[list[DepositRequest]]:
    """Yield batches of deposits that open all accounts."""
    names = [*map(user, range(ACCOUNTS)), MERCHANT]
    for start in range(0, len(names), 1000):
        amount = Money(minor_units=OPENING_MINOR)
        yield [DepositRequest(user_id=name, amount=amount) for name in names[start : start + 1000]]


def write_requests(path: Path, make: Make, count: int) -> None:
    """Write requests one after another, each led by its length as a varint."""
    with path.open("wb") as file:
        for _ in range(count):
            serialize_length_prefixed(make(), file)


def read_requests(path: Path) -> list[bytes]:
    """Read the serialized requests of a file."""
    data = path.read_bytes()
    requests = []
    position = 0
    while position < len(data):
        size = shift = 0
        while True:
            byte = data[position]
            position += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:  # noqa: PLR2004 (the last byte of a varint)
                break
        requests.append(data[position : position + size])
        position += size
    return requests
