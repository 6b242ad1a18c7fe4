"""The service accounts are kept by. Its policy asks for the scope `wallet:admin`."""

import grpc
from wallet_client.v1.wallet_admin_service_pb2 import (
    GetAccountRequest,
    GetAccountResponse,
    OpenAccountRequest,
    OpenAccountResponse,
)
from wallet_client.v1.wallet_admin_service_pb2_grpc import WalletAdminServiceServicer

from wallet_service.engine.group_commit import GroupCommit
from wallet_service.ledger.books import Account
from wallet_service.ledger.commands import AccountKey
from wallet_service.ledger.errors import AccountNotFound
from wallet_service.storage.database import Database
from wallet_service.storage.queries import read_account
from wallet_service.transport import encode
from wallet_service.transport.decode import Decoder
from wallet_service.transport.interceptors import current_call
from wallet_service.transport.servicer import run


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
        caller = current_call().caller
        command = self._decoder.open_account(request, caller)
        outcome = run(self._engine, command)
        return OpenAccountResponse(
            account=encode.account(self._read(command.target)),
            transaction=encode.transaction(outcome, caller, viewed=None),
            replayed=outcome.is_replayed,
        )

    def GetAccount(
        self, request: GetAccountRequest, context: grpc.ServicerContext
    ) -> GetAccountResponse:
        """Read one account."""
        key = self._decoder.any_account(request, current_call().caller)
        return GetAccountResponse(account=encode.account(self._read(key)))

    def _read(self, key: AccountKey) -> Account:
        account = read_account(self._database, key)
        if account is None:
            raise AccountNotFound(**key._asdict())
        return account
