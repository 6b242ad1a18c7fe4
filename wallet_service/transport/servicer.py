"""The service users' money is moved and read by: decode, run, encode."""

import grpc
from wallet_client.v1 import types_pb2
from wallet_client.v1.wallet_service_pb2 import (
    DepositRequest,
    DepositResponse,
    GetBalanceRequest,
    GetBalanceResponse,
    GetTransactionRequest,
    GetTransactionResponse,
    ListBalancesRequest,
    ListBalancesResponse,
    ListTransactionsRequest,
    ListTransactionsResponse,
    TransferRequest,
    TransferResponse,
    WithdrawRequest,
    WithdrawResponse,
)
from wallet_client.v1.wallet_service_pb2_grpc import WalletServiceServicer

from wallet_service.engine.group_commit import GroupCommit
from wallet_service.ledger.books import Account, Outcome
from wallet_service.ledger.commands import AccountKey, Command
from wallet_service.ledger.errors import NotAllowed, TransactionNotFound
from wallet_service.storage.database import Database
from wallet_service.storage.queries import (
    Line,
    read_account,
    read_accounts,
    read_lines,
    read_outcome,
)
from wallet_service.transport import encode
from wallet_service.transport.decode import Decoder, transaction_id_of, user_id_of
from wallet_service.transport.interceptors import current_call
from wallet_service.transport.page_token import make_page_token, read_page_token
from wallet_service.transport.validation import Validation

PAGE_SIZE_DEFAULT = 50
PAGE_SIZE_MAX = 1000


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


class WalletServicer(WalletServiceServicer):
    """
    Implements `wallet.v1.WalletService`.

    Args:
        engine: Runs the writes.

        database: Answers the reads.

        decoder: Reads the requests.

        self_deposit: Whether users may deposit to themselves, or services only.
    """

    def __init__(
        self, engine: GroupCommit, database: Database, decoder: Decoder, *, self_deposit: bool
    ) -> None:
        self._engine = engine
        self._database = database
        self._decoder = decoder
        self._self_deposit = self_deposit

    def Deposit(self, request: DepositRequest, context: grpc.ServicerContext) -> DepositResponse:
        """Bring money in."""
        caller = current_call().caller
        command = self._decoder.deposit(request, caller)
        if not (self._self_deposit or caller.acts_for_any):
            raise NotAllowed(why="here only services deposit, not users themselves")
        outcome = run(self._engine, command)
        return DepositResponse(
            transaction=encode.transaction(outcome, caller, viewed=command.target.user_id),
            replayed=outcome.is_replayed,
        )

    def Withdraw(self, request: WithdrawRequest, context: grpc.ServicerContext) -> WithdrawResponse:
        """Take money out."""
        caller = current_call().caller
        command = self._decoder.withdraw(request, caller)
        outcome = run(self._engine, command)
        return WithdrawResponse(
            transaction=encode.transaction(outcome, caller, viewed=command.source.user_id),
            replayed=outcome.is_replayed,
        )

    def Transfer(self, request: TransferRequest, context: grpc.ServicerContext) -> TransferResponse:
        """Move money to another user."""
        caller = current_call().caller
        command = self._decoder.transfer(request, caller)
        outcome = run(self._engine, command)
        return TransferResponse(
            transaction=encode.transaction(outcome, caller, viewed=command.source.user_id),
            replayed=outcome.is_replayed,
        )

    def GetBalance(
        self, request: GetBalanceRequest, context: grpc.ServicerContext
    ) -> GetBalanceResponse:
        """Read one balance."""
        key = self._decoder.account(request, current_call().caller)
        account = read_account(self._database, key) or Account(*key)
        return GetBalanceResponse(balance=encode.balance(account))

    def ListBalances(
        self, request: ListBalancesRequest, context: grpc.ServicerContext
    ) -> ListBalancesResponse:
        """Read all balances of a user."""
        user_id = user_id_of(request.user_id, current_call().caller)
        accounts = read_accounts(self._database, user_id)
        return ListBalancesResponse(balances=map(encode.balance, accounts))

    def GetTransaction(
        self, request: GetTransactionRequest, context: grpc.ServicerContext
    ) -> GetTransactionResponse:
        """Read one transaction, if it is the caller's to see."""
        caller = current_call().caller
        outcome = read_outcome(self._database, transaction_id_of(request, caller))
        if outcome is None or not caller.may_see(outcome):
            raise TransactionNotFound
        viewed = caller.user_id
        if outcome.entries and outcome.entry_of(viewed) is None:
            viewed = outcome.entries[0].user_id
        return GetTransactionResponse(
            transaction=encode.transaction(outcome, caller, viewed=viewed)
        )

    def ListTransactions(
        self, request: ListTransactionsRequest, context: grpc.ServicerContext
    ) -> ListTransactionsResponse:
        """Read one page of an account's history."""
        caller = current_call().caller
        page_size = _page_size(request)
        key = self._decoder.account(request, caller)
        newest_first = request.order != ListTransactionsRequest.ORDER_OLDEST_FIRST
        listing = f"{key.user_id}\n{key.currency_code}\n{newest_first}"
        lines = read_lines(
            self._database,
            key,
            after=read_page_token(request.page_token, listing),
            newest_first=newest_first,
            row_limit=page_size + 1,
        )
        page = lines[:page_size]
        has_more = len(lines) > page_size
        return ListTransactionsResponse(
            transactions=[self._view(line, key) for line in page],
            next_page_token=make_page_token(page[-1].entry.sequence, listing) if has_more else "",
        )

    def _view(self, line: Line, key: AccountKey) -> types_pb2.Transaction:
        outcome = Outcome(line.transaction, (line.entry,), is_replayed=False)
        return encode.transaction(outcome, current_call().caller, viewed=key.user_id)


def _page_size(request: ListTransactionsRequest) -> int:
    validation = Validation()
    validation.require("page_size", "must not be negative", holds=request.page_size >= 0)
    validation.require(
        "order",
        "must be a known order",
        holds=request.order in ListTransactionsRequest.Order.values(),
    )
    validation.finish()
    return min(request.page_size or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)
