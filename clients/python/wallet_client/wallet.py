"""The `Wallet` class: calls that cannot pay twice."""

from wallet_client.money import MoneyCalls
from wallet_client.operator import OperatorCalls
from wallet_client.reading import ReadCalls


class Wallet(MoneyCalls, ReadCalls, OperatorCalls):
    """
    A connection to the wallet service, safe to share between threads.

    Every write gets its request id before it is first sent and keeps it over all retries, so it
    happens once however often it is tried. Pass your own `request_id`, stored beforehand, to be
    safe even against your own process dying. Amounts are minor units (kopecks, cents). Failures
    raise `wallet_client.errors`. What its arguments mean stands at `Connection`.
    """
