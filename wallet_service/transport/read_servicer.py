"""The methods that only look: decode, read, encode."""

import time

import grpc
from wallet_client.v1 import types_pb2
from wallet_client.v1.wallet_service_pb2 import (
    GetBalanceRequest,
    GetBalanceResponse,
    GetHoldRequest,
    GetHoldResponse,
    GetTransactionRequest,
    GetTransactionResponse,
    ListBalancesRequest,
    ListBalancesResponse,
    ListHoldsRequest,
    ListHoldsResponse,
    ListTransactionsRequest,
    ListTransactionsResponse,
)
from wallet_client.v1.wallet_service_pb2_grpc import WalletServiceServicer

from wallet_service.engine.combine import Combiner
from wallet_service.ledger.books import Account, Outcome
from wallet_service.ledger.commands import AccountKey
from wallet_service.ledger.errors import HoldNotFound, TransactionNotFound
from wallet_service.storage.database import Database
from wallet_service.storage.history import read_entry, read_entry_at, read_page
from wallet_service.storage.pages import read_holds
from wallet_service.storage.queries import read_accounts, read_hold, read_outcome
from wallet_service.transport import encode
from wallet_service.transport.auth import Caller
from wallet_service.transport.decode import Decoder, hold_id_of, transaction_id_of, user_id_of
from wallet_service.transport.fields import time_us
from wallet_service.transport.interceptors import current_call
from wallet_service.transport.listing import (
    PAGE_BYTES_MAX,
    line_filter_of,
    listing_of,
    page_of,
    page_size_of,
)
from wallet_service.transport.page_token import Part, make_page_token, read_page_token
from wallet_service.transport.validation import Validation

#: How far a client's clock may be ahead, in microseconds: as far as that of a token's issuer.
_CLOCK_AHEAD_US = 10 * 1_000_000


class WalletReads(WalletServiceServicer):
    """
    Implements the reading half of `wallet.v1.WalletService`.

    Args:
        database: Answers.

        balances: Reads the balances that many ask for at a time.

        decoder: Reads the requests.
    """

    def __init__(
        self, database: Database, balances: Combiner[AccountKey, Account], decoder: Decoder
    ) -> None:
        self._database = database
        self._balances = balances
        self._decoder = decoder

    def GetBalance(
        self, request: GetBalanceRequest, context: grpc.ServicerContext
    ) -> GetBalanceResponse:
        """Read one balance, now or at a moment of the past."""
        caller = current_call().caller
        match request.WhichOneof("as_of"):
            case "as_of_time":
                balance = self._balance_at_time(request, caller)
            case "as_of_sequence":
                balance = self._balance_at_sequence(request, caller)
            case _:
                return self._balance_now(request, caller)
        return GetBalanceResponse(balance=balance)

    def _balance_now(self, request: GetBalanceRequest, caller: Caller) -> GetBalanceResponse:
        def answer(account: Account) -> GetBalanceResponse:
            response = GetBalanceResponse()
            encode.fill_balance(response.balance, account)
            return response

        return self._balances.ask(
            lambda: self._decoder.account(request, caller),
            answer,
            deadline=current_call().deadline,
        )

    def _balance_at_time(self, request: GetBalanceRequest, caller: Caller) -> types_pb2.Balance:
        validation = Validation()
        at_us = time_us(validation, "as_of_time", request.as_of_time, is_bound=False)
        key = self._decoder.account(request, caller, validation)
        latest_us = time.time_ns() // 1000 + _CLOCK_AHEAD_US
        validation.require("as_of_time", "is in the future", holds=at_us <= latest_us)
        validation.finish()
        line = read_entry_at(self._database, key, at_us)
        return encode.balance_at(key, line, time_us=at_us)

    def _balance_at_sequence(self, request: GetBalanceRequest, caller: Caller) -> types_pb2.Balance:
        sequence = request.as_of_sequence
        validation = Validation()
        validation.not_negative("as_of_sequence", sequence)
        key = self._decoder.account(request, caller, validation)
        line = read_entry(self._database, key, sequence) if sequence else None
        validation.require(
            "as_of_sequence",
            f"the account has no entry {sequence} yet",
            holds=line is not None or sequence == 0,
        )
        validation.finish()
        return encode.balance_at(key, line, time_us=line.created_at if line else 0)

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
        if caller.acts_for_any and outcome.entries and outcome.entry_of(viewed) is None:
            viewed = outcome.entries[0].user_id
        return GetTransactionResponse(
            transaction=encode.transaction(outcome, caller, viewed=viewed)
        )

    def ListTransactions(
        self, request: ListTransactionsRequest, context: grpc.ServicerContext
    ) -> ListTransactionsResponse:
        """Read one page of an account's history."""
        validation = Validation()
        page_size = page_size_of(validation, request)
        line_filter = line_filter_of(validation, request, self._decoder.currency_of(request))
        key = self._decoder.account(request, current_call().caller, validation)
        listing = listing_of(request, *key)
        after = read_page_token(request.page_token, listing, Part.NUMBER)
        page = read_page(
            self._database,
            key,
            line_filter,
            after=after[0] if after else None,
            newest_first=request.order != ListTransactionsRequest.ORDER_OLDEST_FIRST,
            page_size=page_size,
        )
        response = ListTransactionsResponse()
        caller = current_call().caller
        next_after = page.next_after
        size = 0
        for line in page.lines:
            outcome = Outcome(line.transaction, (line.entry,), is_replayed=False)
            message = response.transactions.add()
            encode.fill_transaction(message, outcome, caller, viewed=key.user_id)
            size += message.ByteSize()
            if size > PAGE_BYTES_MAX and line is not page.lines[-1]:
                next_after = line.entry.sequence
                break
        if next_after is not None:
            response.next_page_token = make_page_token((next_after,), listing)
        return response

    def GetHold(self, request: GetHoldRequest, context: grpc.ServicerContext) -> GetHoldResponse:
        """Read one hold, if it is the caller's to see."""
        caller = current_call().caller
        hold = read_hold(self._database, hold_id_of(request.hold_id))
        if hold is None or not (
            caller.acts_for_any or caller.user_id in {hold.user_id, hold.target_user_id}
        ):
            raise HoldNotFound
        return GetHoldResponse(hold=encode.hold(hold))

    def ListHolds(
        self, request: ListHoldsRequest, context: grpc.ServicerContext
    ) -> ListHoldsResponse:
        """Read one page of an account's holds."""
        validation = Validation()
        page_size = page_size_of(validation, request)
        states = validation.names("states", request.states, types_pb2.HoldState)
        key = self._decoder.account(request, current_call().caller, validation)
        listing = listing_of(request, *key)
        after = read_page_token(request.page_token, listing, Part.NUMBER, Part.ID)
        page = read_holds(
            self._database,
            key,
            states=[name.removeprefix("HOLD_STATE_") for name in states],
            after=after,
            page_size=page_size,
        )
        messages, token = page_of(
            page, listing, encode.hold, lambda hold: (hold.created_at, hold.hold_id)
        )
        return ListHoldsResponse(holds=messages, next_page_token=token)
