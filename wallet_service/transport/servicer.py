"""The service users' money is moved and read by: decode, run, encode."""

from collections.abc import Iterator

import grpc
from wallet_client.v1 import types_pb2
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
from wallet_service.ledger.books import Account, Outcome
from wallet_service.ledger.commands import AccountKey, Command
from wallet_service.ledger.errors import NotAllowed
from wallet_service.storage.database import Database
from wallet_service.transport import decode, encode
from wallet_service.transport.batch import response_of, submission_of, viewpoint
from wallet_service.transport.decode import Decoder
from wallet_service.transport.interceptors import current_call
from wallet_service.transport.read_servicer import WalletReads
from wallet_service.transport.validation import Validation
from wallet_service.transport.watch import Watches


def run(engine: GroupCommit, command: Command) -> Outcome:
    """
    Have a command carried out for the current call.

    Raises:
        Refusal: What the ledger decided, now or when this request id was first used.
    """
    call = current_call()
    call.request_id = command.request_id
    outcome = engine.submit(command, deadline=call.deadline)
    call.is_replayed = outcome.is_replayed
    refusal = outcome.transaction.refusal
    if refusal:
        refusal.values["transaction_id"] = outcome.transaction.transaction_id
        raise refusal
    return outcome


class WalletServicer(WalletReads):
    """
    Implements `wallet.v1.WalletService`.

    Args:
        engine: Runs the writes.

        database: Answers the reads.

        balances: Answers those of balances, many at a time.

        decoder: Reads the requests.

        watches: Holds the streams.

        self_deposit: Whether users may deposit to themselves, or services only.
    """

    def __init__(
        self,
        engine: GroupCommit,
        database: Database,
        *,
        balances: Combiner[AccountKey, Account],
        decoder: Decoder,
        watches: Watches,
        self_deposit: bool,
    ) -> None:
        super().__init__(database, balances, decoder)
        self._engine = engine
        self._watches = watches
        self._self_deposit = self_deposit

    def Deposit(self, request: DepositRequest, context: grpc.ServicerContext) -> DepositResponse:
        """Bring money in."""
        caller = current_call().caller
        command = self._decoder.deposit(request, caller)
        if not (self._self_deposit or caller.acts_for_any):
            raise NotAllowed(why="here only services deposit, not users themselves")
        transaction, outcome = self._run(command)
        return DepositResponse(transaction=transaction, replayed=outcome.is_replayed)

    def Withdraw(self, request: WithdrawRequest, context: grpc.ServicerContext) -> WithdrawResponse:
        """Take money out."""
        command = self._decoder.withdraw(request, current_call().caller)
        transaction, outcome = self._run(command)
        return WithdrawResponse(transaction=transaction, replayed=outcome.is_replayed)

    def Transfer(self, request: TransferRequest, context: grpc.ServicerContext) -> TransferResponse:
        """Move money to another user."""
        command = self._decoder.transfer(request, current_call().caller)
        transaction, outcome = self._run(command)
        return TransferResponse(transaction=transaction, replayed=outcome.is_replayed)

    def CreateHold(
        self, request: CreateHoldRequest, context: grpc.ServicerContext
    ) -> CreateHoldResponse:
        """Reserve money."""
        command = self._decoder.create_hold(request, current_call().caller)
        transaction, outcome = self._run(command)
        return CreateHoldResponse(
            hold=_hold(outcome), transaction=transaction, replayed=outcome.is_replayed
        )

    def CaptureHold(
        self, request: CaptureHoldRequest, context: grpc.ServicerContext
    ) -> CaptureHoldResponse:
        """Take reserved money."""
        command = decode.capture_hold(request, current_call().caller)
        transaction, outcome = self._run(command)
        return CaptureHoldResponse(
            transaction=transaction, hold=_hold(outcome), replayed=outcome.is_replayed
        )

    def VoidHold(self, request: VoidHoldRequest, context: grpc.ServicerContext) -> VoidHoldResponse:
        """Release reserved money."""
        command = decode.void_hold(request, current_call().caller)
        transaction, outcome = self._run(command)
        return VoidHoldResponse(
            transaction=transaction, hold=_hold(outcome), replayed=outcome.is_replayed
        )

    def ReverseTransaction(
        self, request: ReverseTransactionRequest, context: grpc.ServicerContext
    ) -> ReverseTransactionResponse:
        """Give an earlier transaction back."""
        command = decode.reverse_transaction(request, current_call().caller)
        transaction, outcome = self._run(command)
        return ReverseTransactionResponse(transaction=transaction, replayed=outcome.is_replayed)

    def ExecuteBatch(
        self, request: ExecuteBatchRequest, context: grpc.ServicerContext
    ) -> ExecuteBatchResponse:
        """Carry out many operations at once."""
        call = current_call()
        submission = submission_of(
            request, call.caller, self._decoder, self_deposit=self._self_deposit
        )
        results = self._engine.submit_all(submission, deadline=call.deadline)
        call.is_replayed = all(
            isinstance(result, Outcome) and result.is_replayed for result in results
        )
        return response_of(submission, results, call.caller)

    def WatchTransactions(
        self, request: WatchTransactionsRequest, context: grpc.ServicerContext
    ) -> Iterator[WatchTransactionsResponse]:
        """Send what moves on an account as it is committed."""
        caller = current_call().caller
        key = self._decoder.account(request, caller)
        validation = Validation()
        validation.not_negative("after_sequence", request.after_sequence)
        validation.finish()
        return self._watches.stream(caller, key, request.after_sequence, context)

    def _run(self, command: Command) -> tuple[types_pb2.Transaction, Outcome]:
        outcome = run(self._engine, command)
        viewed = viewpoint(command, outcome)
        return encode.transaction(outcome, current_call().caller, viewed=viewed), outcome


def _hold(outcome: Outcome) -> types_pb2.Hold | None:
    return encode.hold(outcome.hold) if outcome.hold else None
