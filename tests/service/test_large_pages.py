"""Pages that would be too large for a client are cut short, and nothing is lost."""

import grpc
from harness.calls import user
from harness.people import hold_of, rub
from harness.tokens import bearer
from wallet_client.v1.wallet_service_pb2 import (
    DepositRequest,
    ListHoldsRequest,
    ListTransactionsRequest,
)
from wallet_client.v1.wallet_service_pb2_grpc import WalletServiceStub


def test_a_page_of_large_labels_is_cut_so_that_every_client_can_read_it(target: str) -> None:
    labels = {f"{number:02}".ljust(64, "\U0001fa99"): "\U0001fa99" * 256 for number in range(32)}
    count = 120
    with user(target, "alice") as alice:
        sent = [
            alice.send(
                DepositRequest(amount=rub(1), request_id=f"large-{number}", metadata=labels)
            ).response.transaction.transaction_id
            for number in range(count)
        ]
        held = [
            hold_of(alice, 1, request_id=f"hold-{number}", metadata=labels).hold_id
            for number in range(count)
        ]

    metadata = bearer("alice")
    with grpc.insecure_channel(target) as channel:  # with gRPC's own limits
        stub = WalletServiceStub(channel)
        pages = [stub.ListTransactions(ListTransactionsRequest(page_size=1000), metadata=metadata)]
        while token := pages[-1].next_page_token:
            request = ListTransactionsRequest(page_size=1000, page_token=token)
            pages.append(stub.ListTransactions(request, metadata=metadata))
        holds = [stub.ListHolds(ListHoldsRequest(page_size=1000), metadata=metadata)]
        while token := holds[-1].next_page_token:
            holds.append(
                stub.ListHolds(
                    ListHoldsRequest(page_size=1000, page_token=token), metadata=metadata
                )
            )

    seen = [each.transaction_id for page in pages for each in page.transactions]
    assert seen == sent[::-1]
    assert sorted(each.hold_id for page in holds for each in page.holds) == sorted(held)
    assert len(pages) > 1
    assert len(holds) > 1
