"""
`wallet serve` with a Transfer that does nothing: what transport, interceptors and tokens cost.

    python -m benchmarks.noop_server serve
"""

import grpc
from wallet_client.v1.wallet_service_pb2 import TransferRequest, TransferResponse

from wallet_service.__main__ import main
from wallet_service.transport.servicer import WalletServicer


def do_nothing(
    _servicer: WalletServicer, _request: TransferRequest, _context: grpc.ServicerContext
) -> TransferResponse:
    """Answer at once."""
    return TransferResponse()


WalletServicer.Transfer = do_nothing  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
