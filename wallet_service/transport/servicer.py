"""The service users' money is moved and read by: decode, run, encode."""

from collections.abc import Iterator
from typing import Any

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

#: What every write answers; only those about holds have one.
_WriteResponse = Any


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
        if not command.validate_only:
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
        response = DepositResponse()
        self._run(command, response)
        return response

    def Withdraw(self, request: WithdrawRequest, context: grpc.ServicerContext) -> WithdrawResponse:
        """Take money out."""
        command = self._decoder.withdraw(request, current_call().caller)
        response = WithdrawResponse()
        self._run(command, response)
        return response

    def Transfer(self, request: TransferRequest, context: grpc.ServicerContext) -> TransferResponse:
        """Move money to another user."""
        command = self._decoder.transfer(request, current_call().caller)
        response = TransferResponse()
        self._run(command, response)
        return response

    def CreateHold(
        self, request: CreateHoldRequest, context: grpc.ServicerContext
    ) -> CreateHoldResponse:
        """Reserve money."""
        command = self._decoder.create_hold(request, current_call().caller)
        response = CreateHoldResponse()
        self._run(command, response)
        return response

    def CaptureHold(
        self, request: CaptureHoldRequest, context: grpc.ServicerContext
    ) -> CaptureHoldResponse:
        """Take reserved money."""
        command = decode.capture_hold(request, current_call().caller)
        response = CaptureHoldResponse()
        self._run(command, response)
        return response

    def VoidHold(self, request: VoidHoldRequest, context: grpc.ServicerContext) -> VoidHoldResponse:
        """Release reserved money."""
        command = decode.void_hold(request, current_call().caller)
        response = VoidHoldResponse()
        self._run(command, response)
        return response

    def ReverseTransaction(
        self, request: ReverseTransactionRequest, context: grpc.ServicerContext
    ) -> ReverseTransactionResponse:
        """Give an earlier transaction back."""
        command = decode.reverse_transaction(request, current_call().caller)
        response = ReverseTransactionResponse()
        self._run(command, response)
        return response

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
        call = current_call()
        key = self._decoder.account(request, call.caller)
        after_sequence = request.after_sequence
        validation = Validation()
        validation.not_negative("after_sequence", after_sequence)
        validation.finish()
        if after_sequence:
            sequence = self._balances.ask(key, deadline=call.deadline).sequence
            text = f"the account has no entry {after_sequence} yet"
            validation.require("after_sequence", text, holds=after_sequence <= sequence)
            validation.finish()
        return self._watches.stream(call.caller, key, after_sequence, context)

    def _run(self, command: Command, response: _WriteResponse) -> None:
        """Have a command carried out and write what became of it into its response."""
        outcome = run(self._engine, command)
        viewed = viewpoint(command, outcome)
        caller = current_call().caller
        encode.fill_transaction(response.transaction, outcome, caller, viewed=viewed)
        response.replayed = outcome.is_replayed
        if outcome.hold:
            response.hold.CopyFrom(encode.hold(outcome.hold))
