"""The service users' money is moved and read by: decode, run, encode."""

from collections.abc import Iterator

import grpc
from wallet_client.v1.wallet_service_pb2 import (
    CaptureHoldRequest,
    CaptureHoldResponse,
    CreateHoldRequest,
    CreateHoldResponse,
    DepositRequest,
    DepositResponse,
    ExecuteBatchRequest,
    ExecuteBatchResponse,
    ReverseTransactionRequest,
    ReverseTransactionResponse,
    TransferRequest,
    TransferResponse,
    VoidHoldRequest,
    VoidHoldResponse,
    WatchTransactionsRequest,
    WatchTransactionsResponse,
    WithdrawRequest,
    WithdrawResponse,
)

from wallet_service.engine.combine import Combiner
from wallet_service.engine.group_commit import GroupCommit
from wallet_service.ledger.books import Account
from wallet_service.ledger.commands import AccountKey
from wallet_service.storage.database import Database
from wallet_service.transport import decode
from wallet_service.transport.decode import Decoder
from wallet_service.transport.interceptors import current_call
from wallet_service.transport.read_servicer import WalletReads
from wallet_service.transport.validation import Validation
from wallet_service.transport.watch import Watches
from wallet_service.transport.writes import carry_out, carry_out_batch


class WalletServicer(WalletReads):
    """
    Implements `wallet.v1.WalletService`.

    Args:
        engine: Runs the writes.

        database: Answers the reads.

        balances: Answers those of balances, many at a time.

        decoder: Reads the requests.

        watches: Holds the streams.
    """

    def __init__(
        self,
        engine: GroupCommit,
        database: Database,
        *,
        balances: Combiner[AccountKey, Account],
        decoder: Decoder,
        watches: Watches,
    ) -> None:
        super().__init__(database, balances, decoder)
        self._engine = engine
        self._watches = watches

    def Deposit(self, request: DepositRequest, context: grpc.ServicerContext) -> DepositResponse:
        """Bring money in."""
        response = DepositResponse()
        carry_out(self._engine, self._decoder.deposit, request, response)
        return response

    def Withdraw(self, request: WithdrawRequest, context: grpc.ServicerContext) -> WithdrawResponse:
        """Take money out."""
        response = WithdrawResponse()
        carry_out(self._engine, self._decoder.withdraw, request, response)
        return response

    def Transfer(self, request: TransferRequest, context: grpc.ServicerContext) -> TransferResponse:
        """Move money to another user."""
        response = TransferResponse()
        carry_out(self._engine, self._decoder.transfer, request, response)
        return response

    def CreateHold(
        self, request: CreateHoldRequest, context: grpc.ServicerContext
    ) -> CreateHoldResponse:
        """Reserve money."""
        response = CreateHoldResponse()
        carry_out(self._engine, self._decoder.create_hold, request, response)
        return response

    def CaptureHold(
        self, request: CaptureHoldRequest, context: grpc.ServicerContext
    ) -> CaptureHoldResponse:
        """Take reserved money."""
        response = CaptureHoldResponse()
        carry_out(self._engine, decode.capture_hold, request, response)
        return response

    def VoidHold(self, request: VoidHoldRequest, context: grpc.ServicerContext) -> VoidHoldResponse:
        """Release reserved money."""
        response = VoidHoldResponse()
        carry_out(self._engine, decode.void_hold, request, response)
        return response

    def ReverseTransaction(
        self, request: ReverseTransactionRequest, context: grpc.ServicerContext
    ) -> ReverseTransactionResponse:
        """Give an earlier transaction back."""
        response = ReverseTransactionResponse()
        carry_out(self._engine, decode.reverse_transaction, request, response)
        return response

    def ExecuteBatch(
        self, request: ExecuteBatchRequest, context: grpc.ServicerContext
    ) -> ExecuteBatchResponse:
        """Carry out many operations at once."""
        return carry_out_batch(self._engine, self._decoder, request)

    def WatchTransactions(
        self, request: WatchTransactionsRequest, context: grpc.ServicerContext
    ) -> Iterator[WatchTransactionsResponse]:
        """Send what moves on an account as it is committed."""
        call = current_call()
        after_sequence = request.after_sequence
        validation = Validation()
        validation.not_negative("after_sequence", after_sequence)
        key = self._decoder.account(request, call.caller, validation)
        if after_sequence:
            sequence = self._balances.ask(
                lambda: key, lambda account: account.sequence, deadline=call.deadline
            )
            text = f"the account has no entry {after_sequence} yet"
            validation.require("after_sequence", text, holds=after_sequence <= sequence)
            validation.finish()
        return self._watches.stream(call, key, after_sequence, context)
