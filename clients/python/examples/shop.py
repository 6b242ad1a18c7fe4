"""
A day of a shop: hold, capture what was sent, refund a part, pay staff in one batch, all watched.

Run it against a development server, from the repository's root:

    .venv/bin/python clients/python/examples/shop.py 127.0.0.1:50051 \
        "$(.venv/bin/wallet token shop --scope wallet:admin --scope wallet:act-for-any)"
"""

import sys
import threading
import uuid
from datetime import timedelta

from wallet_client import BatchRefused, Wallet
from wallet_client.v1.types_pb2 import Money, Transaction
from wallet_client.v1.wallet_service_pb2 import TransferRequest

_LINES_OF_THE_SHOP = 4


def main(target: str, token: str) -> None:
    """Tell the story between users nobody has met before."""
    customer, shop, clerk = (f"{name}-{uuid.uuid4().hex[:8]}" for name in ("ivan", "shop", "olga"))
    with Wallet(target, token, plaintext=True) as wallet:
        for user_id in (shop, clerk):
            wallet.open_account(user_id)
        wallet.deposit(50_000, user_id=customer)

        seen: list[Transaction] = []
        watching = threading.Thread(target=_watch, args=(wallet, shop, seen), daemon=True)
        watching.start()
        _sell(wallet, customer, shop)
        _pay_staff(wallet, shop, clerk)
        watching.join()

        print("the shop saw:")
        for line in seen:
            kind, entry = Transaction.Kind.Name(line.kind).removeprefix("KIND_"), line.entry
            print(f"  #{entry.sequence} {kind:<8} {entry.amount.decimal:>8}")


def _watch(wallet: Wallet, shop: str, seen: list[Transaction]) -> None:
    """Collect what happens on the shop's account while it happens."""
    for transaction in wallet.watch(user_id=shop):
        seen.append(transaction)
        if len(seen) == _LINES_OF_THE_SHOP:
            return


def _sell(wallet: Wallet, customer: str, shop: str) -> None:
    """Reserve the price, take it for what was sent, and give back what was broken."""
    hold = wallet.create_hold(
        30_000, user_id=customer, to_user_id=shop, expire_after=timedelta(days=7)
    ).hold
    balance = wallet.balance(user_id=customer)
    print(f"{customer} ordered: {balance.held.decimal} held, {balance.available.decimal} left")

    wallet.capture_hold(hold.hold_id, 18_000, keep_remainder=True, description="first parcel")
    last = wallet.capture_hold(hold.hold_id, 7_000, description="second parcel")
    print(f"{shop} took {last.hold.captured.decimal} of {last.hold.amount.decimal}")

    wallet.reverse(last.transaction.transaction_id, 2_500, description="a broken cup")
    print(f"{customer} has {wallet.balance(user_id=customer).available.decimal}")


def _pay_staff(wallet: Wallet, shop: str, clerk: str) -> None:
    """Pay all or nobody; what cannot be paid at once is paid in part."""
    wages = [_wage(shop, clerk, amount_minor) for amount_minor in (10_000, 20_000)]
    try:
        wallet.execute(wages, atomic=True)
    except BatchRefused as refused:
        print(f"refused: wage {refused.failed_index + 1} has {refused.failed_reason}")
    paid = wallet.transfer(clerk, 30_000, user_id=shop, up_to=True).transaction
    print(f"{clerk} got {paid.amount.decimal}")


def _wage(shop: str, clerk: str, amount_minor: int) -> TransferRequest:
    return TransferRequest(
        user_id=shop, to_user_id=clerk, amount=Money(minor_units=amount_minor), description="wage"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
