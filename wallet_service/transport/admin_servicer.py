"""The service accounts are kept by. Its policy asks for the scope `wallet:admin`."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from wallet_client.v1 import types_pb2
from wallet_client.v1.wallet_admin_service_pb2 import (
    GetAccountRequest,
    GetAccountResponse,
    ListAccountChangesRequest,
    ListAccountChangesResponse,
    ListAccountsRequest,
    ListAccountsResponse,
    OpenAccountRequest,
    OpenAccountResponse,
    UpdateAccountRequest,
    UpdateAccountResponse,
)
from wallet_client.v1.wallet_admin_service_pb2_grpc import WalletAdminServiceServicer

from wallet_service.engine.group_commit import GroupCommit
from wallet_service.ledger.books import Account
from wallet_service.ledger.commands import AccountKey
from wallet_service.ledger.errors import (
    AccountNotFound,
    DatabaseUnavailable,
    OutcomeUnknown,
    Overloaded,
)
from wallet_service.storage.database import Database
from wallet_service.storage.pages import read_account_changes, read_account_page
from wallet_service.storage.queries import read_account
from wallet_service.transport import encode
from wallet_service.transport.decode import Decoder
from wallet_service.transport.interceptors import current_call
from wallet_service.transport.listing import listing_of, page_of, page_size_of
from wallet_service.transport.page_token import Part, read_page_token
from wallet_service.transport.validation import Validation
from wallet_service.transport.writes import carry_out


@contextmanager
def _written() -> Iterator[None]:
    """Say of what is read after a write no more than is known: the write is done."""
    try:
        yield
    except (DatabaseUnavailable, Overloaded) as error:
        raise OutcomeUnknown from error


class WalletAdminServicer(WalletAdminServiceServicer):
    """
    Implements `wallet.v1.WalletAdminService`.

    Args:
        engine: Runs the writes.

        database: Answers the reads.

        decoder: Reads the requests.
    """

    def __init__(self, engine: GroupCommit, database: Database, decoder: Decoder) -> None:
        self._engine = engine
        self._database = database
        self._decoder = decoder

    def OpenAccount(
        self, request: OpenAccountRequest, context: grpc.ServicerContext
    ) -> OpenAccountResponse:
        """Open an account."""
        response = OpenAccountResponse()
        key = carry_out(self._engine, self._decoder.open_account, request, response).target
        with _written():
            account = read_account(self._database, key) or Account(*key)
        response.account.CopyFrom(encode.account(account))
        return response

    def UpdateAccount(
        self, request: UpdateAccountRequest, context: grpc.ServicerContext
    ) -> UpdateAccountResponse:
        """Change what an account may do."""
        response = UpdateAccountResponse()
        key = carry_out(self._engine, self._decoder.update_account, request, response).target
        with _written():
            account = self._read(key)
        response.account.CopyFrom(encode.account(account))
        return response

    def GetAccount(
        self, request: GetAccountRequest, context: grpc.ServicerContext
    ) -> GetAccountResponse:
        """Read one account."""
        key = self._decoder.any_account(request, current_call().caller)
        return GetAccountResponse(account=encode.account(self._read(key)))

    def ListAccounts(
        self, request: ListAccountsRequest, context: grpc.ServicerContext
    ) -> ListAccountsResponse:
        """Read one page of accounts."""
        validation = Validation()
        page_size = page_size_of(validation, request)
        validation.user_id("user_id", request.user_id, may_be_empty=True)
        if request.currency_code:
            validation.currency_code("currency_code", request.currency_code)
        states = validation.names("states", request.states, types_pb2.AccountState)
        validation.finish()
        listing = listing_of(request, request.user_id, request.currency_code)
        after = read_page_token(request.page_token, listing, Part.NAME, Part.NAME)
        page = read_account_page(
            self._database,
            user_id=request.user_id or None,
            currency_code=request.currency_code or None,
            states=[name.removeprefix("ACCOUNT_STATE_") for name in states],
            after=after,
            page_size=page_size,
        )
        messages, token = page_of(page, listing, encode.account, lambda account: tuple(account.key))
        return ListAccountsResponse(accounts=messages, next_page_token=token)

    def ListAccountChanges(
        self, request: ListAccountChangesRequest, context: grpc.ServicerContext
    ) -> ListAccountChangesResponse:
        """Read one page of what operators changed on an account."""
        validation = Validation()
        page_size = page_size_of(validation, request)
        key = self._decoder.any_account(request, current_call().caller, validation)
        listing = listing_of(request, *key)
        after = read_page_token(request.page_token, listing, Part.NUMBER, Part.ID)
        page = read_account_changes(self._database, key, after=after, page_size=page_size)
        messages, token = page_of(
            page,
            listing,
            encode.account_change,
            lambda record: (record.created_at, record.transaction_id),
        )
        return ListAccountChangesResponse(changes=messages, next_page_token=token)

    def _read(self, key: AccountKey) -> Account:
        account = read_account(self._database, key)
        if account is None:
            raise AccountNotFound(**key._asdict())
        return account
