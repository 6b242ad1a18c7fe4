"""
A whole story: open, deposit, transfer, a refused overdraft, history.

Run it against a development server, from the repository's root:

    .venv/bin/python clients/python/examples/story.py 127.0.0.1:50051 \
        "$(.venv/bin/wallet token shop --scope wallet:admin --scope wallet:act-for-any)"
"""

import sys
import uuid

from wallet_client import InsufficientFunds, Wallet


def main(target: str, token: str) -> None:
    """Tell the story between two users nobody has met before."""
    anna, boris = (f"{name}-{uuid.uuid4().hex[:8]}" for name in ("anna", "boris"))
    with Wallet(target, token, plaintext=True) as wallet:
        for user_id in (anna, boris):
            opened = wallet.open_account(user_id).account
            print(f"{user_id} has {opened.balance.available.decimal} RUB")

        wallet.deposit(10_000, user_id=anna, description="card top-up")
        wallet.deposit(100, user_id=boris)
        sent = wallet.transfer(boris, 10_000, user_id=anna, description="dinner").transaction
        print(f"{anna} sent {sent.amount.decimal}, keeps {sent.entry.balance_after.decimal}")
        print(f"{boris} has {wallet.balance(user_id=boris).posted.decimal}")

        try:
            wallet.transfer(anna, 10_101, user_id=boris)
        except InsufficientFunds as refused:
            print(f"refused, {boris} is {refused.shortfall_minor} kopeck short: {refused.reason}")

        print(f"history of {boris}:")
        for line in wallet.transactions(user_id=boris, oldest_first=True):
            entry = line.entry
            print(f"  #{entry.sequence} {entry.amount.decimal:>8} → {entry.balance_after.decimal}")


if __name__ == "__main__":
    main(*sys.argv[1:])
