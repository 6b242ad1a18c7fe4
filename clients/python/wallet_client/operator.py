"""Calls of operators; each needs the scope `wallet:admin`."""

from collections.abc import Iterator, Sequence
from typing import Unpack

from wallet_client.connection import Connection, WriteOptions, with_request_id
from wallet_client.v1.types_pb2 import (
    ACCOUNT_STATE_UNSPECIFIED,
    Account,
    AccountState,
    Money,
    SpendingLimit,
)
from wallet_client.v1.wallet_admin_service_pb2 import (
    AccountChange,
    GetAccountRequest,
    ListAccountChangesRequest,
    ListAccountsRequest,
    OpenAccountRequest,
    OpenAccountResponse,
    SpendingLimits,
    UpdateAccountRequest,
    UpdateAccountResponse,
)


class OperatorCalls(Connection):
    """`wallet.v1.WalletAdminService`."""

    def open_account(
        self, user_id: str, *, currency_code: str = "", **options: Unpack[WriteOptions]
    ) -> OpenAccountResponse:
        """Open a user's account, so that it can be paid."""
        request = OpenAccountRequest(
            user_id=user_id, currency_code=currency_code, **with_request_id(options)
        )
        return self._write_alone(self._admin.OpenAccount, request)

    def account(self, user_id: str, *, currency_code: str = "") -> Account:
        """
        Read a user's account.

        Raises:
            AccountNotFound: It was never opened.
        """
        request = GetAccountRequest(user_id=user_id, currency_code=currency_code)
        return self._call(self._admin.GetAccount, request).account

    def accounts(
        self,
        *,
        user_id: str = "",
        currency_code: str = "",
        states: Sequence["AccountState.ValueType"] = (),
        page_size: int = 0,
    ) -> Iterator[Account]:
        """Read accounts by user id and currency code, asking for pages as they are needed."""
        request = ListAccountsRequest(
            user_id=user_id, currency_code=currency_code, states=states, page_size=page_size
        )
        return self._rows(self._admin.ListAccounts, request, "accounts")

    def update_account(
        self,
        user_id: str,
        *,
        currency_code: str = "",
        min_balance_minor: int | None = None,
        state: "AccountState.ValueType" = ACCOUNT_STATE_UNSPECIFIED,
        limits: Sequence[SpendingLimit] | None = None,
        **options: Unpack[WriteOptions],
    ) -> UpdateAccountResponse:
        """
        Change what an account may do; what is not named stays.

        Args:
            user_id: The owner.

            currency_code: ISO 4217; empty: the service's default.

            min_balance_minor: The new floor of what is available: negative for an overdraft.

            state: The new state; closing needs an empty account.

            limits: The new spending limits, instead of all there were.

            options: See `WriteOptions`; `description` says why.
        """
        request = UpdateAccountRequest(
            user_id=user_id,
            currency_code=currency_code,
            min_balance=None if min_balance_minor is None else Money(minor_units=min_balance_minor),
            state=state,
            limits=None if limits is None else SpendingLimits(limits=limits),
            **with_request_id(options),
        )
        return self._write_alone(self._admin.UpdateAccount, request)

    def account_changes(
        self, user_id: str, *, currency_code: str = "", page_size: int = 0
    ) -> Iterator[AccountChange]:
        """Read who changed an account, when, from what, to what; newest first."""
        request = ListAccountChangesRequest(
            user_id=user_id, currency_code=currency_code, page_size=page_size
        )
        return self._rows(self._admin.ListAccountChanges, request, "changes")
