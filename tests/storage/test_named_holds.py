"""Holds that commands name, or that repeated requests once named, and the locks they need."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from harness.commands import capture_hold, create_hold, deposit, reverse, transfer
from harness.patience import eventually
from harness.stored import lock_waiters

from wallet_service.engine import execute
from wallet_service.engine.execute import Submission, execute_batch
from wallet_service.engine.retry import settle
from wallet_service.ledger.books import Outcome, Rules, State
from wallet_service.ledger.commands import Command
from wallet_service.ledger.decide import decide
from wallet_service.ledger.errors import RequestIdReused
from wallet_service.storage.database import Database, open_database
from wallet_service.storage.load import load_books
from wallet_service.storage.queries import BEFORE_ALL_HOLDS, read_due_holds
from wallet_service.storage.write import write_books


def test_a_captures_id_used_for_something_else_is_refused_at_once(database: Database) -> None:
    run = partial(execute_batch, database, rules=Rules())
    hold = create_hold("hold", "alice", 10, target="bob")
    run([Submission([deposit(name, name, 100) for name in ("alice", "bob", "carol")])])
    run([Submission([hold])])
    run([Submission([capture_hold("used", hold.transaction_id, is_service=True)])])

    # One run: nothing that another one would find is missing.
    [[reused], [other]] = run(
        [Submission([deposit("used", "carol", 1)]), Submission([deposit("other", "carol", 5)])]
    )

    assert isinstance(reused, RequestIdReused)
    assert isinstance(other, Outcome)
    assert other.transaction.state == State.POSTED


@pytest.mark.parametrize("ask", [capture_hold, reverse])
def test_what_leads_to_no_account_is_refused_once_and_then_repeated(
    database: Database, ask: Callable[..., Command]
) -> None:
    run = partial(execute_batch, database, rules=Rules())
    unknown = deposit("never made", "alice", 1).transaction_id
    lost = [Submission([ask("lost", unknown, is_service=True)])]
    [[first]] = run(lost)

    # One run: the first is looked for although no account's lock could tell of it.
    [[again]] = run(lost)
    [[reused]] = run([Submission([deposit("lost", "alice", 1)])])

    assert isinstance(first, Outcome)
    assert first.transaction.state == State.REFUSED
    assert isinstance(again, Outcome)
    assert again == first._replace(is_replayed=True)
    assert isinstance(reused, RequestIdReused)


@pytest.mark.parametrize("named", ["hold", "original"])
def test_an_id_used_again_does_not_lead_others_astray(database: Database, named: str) -> None:
    run = partial(execute_batch, database, rules=Rules())
    run([Submission([deposit(name, name, 100) for name in ("alice", "bob", "carol", "dave")])])
    first, second = (
        create_hold("first", "alice", 10, target="bob"),
        create_hold("second", "carol", 10, target="dave"),
    )
    run([Submission([first]), Submission([second])])
    words = {"is_service": True}
    if named == "hold":
        used_again = capture_hold("first", second.transaction_id, **words)
        other = capture_hold("other", first.transaction_id, **words)
    else:
        used = capture_hold("used", first.transaction_id, **words)
        run([Submission([used])])
        used_again = capture_hold("used", second.transaction_id, **words)
        other = reverse("other", used.transaction_id, **words)

    [[reused], [settled]] = run([Submission([used_again]), Submission([other])])

    assert isinstance(reused, RequestIdReused)
    assert isinstance(settled, Outcome)
    assert settled.transaction.state == State.POSTED


def test_a_hold_is_captured_by_the_batch_that_makes_it_to_whom_the_capture_names(
    database: Database,
) -> None:
    run = partial(execute_batch, database, rules=Rules())
    run([Submission([deposit(name, name, 100) for name in ("alice", "bob")])])
    hold = create_hold("hold", "alice", 10)
    capture = capture_hold("capture", hold.transaction_id, to_user_id="bob", is_service=True)

    [[_, captured]] = run([Submission([hold, capture])])

    assert isinstance(captured, Outcome)
    assert captured.transaction.state == State.POSTED
    assert {entry.user_id for entry in captured.entries} == {"alice", "bob"}


def test_an_original_is_found_beside_a_repeated_request(database: Database) -> None:
    run = partial(execute_batch, database, rules=Rules())
    original, repeated = deposit("original", "alice", 100), deposit("repeated", "alice", 1)
    run([Submission([original, repeated])])

    [[again], [given_back]] = run(
        [
            Submission([repeated]),
            Submission([reverse("back", original.transaction_id, is_service=True)]),
        ]
    )

    assert isinstance(again, Outcome)
    assert again.is_replayed
    assert isinstance(given_back, Outcome)
    assert given_back.transaction.state == State.POSTED


@pytest.mark.parametrize("kind", ["hold", "original"])
def test_what_is_made_while_a_batch_waits_is_settled_with_its_target_locked(
    postgres_url: str, kind: str
) -> None:
    here, there = open_database(postgres_url), open_database(postgres_url)
    run = partial(execute_batch, there, rules=Rules())
    run([Submission([deposit(name, name, 100) for name in ("alice", "bob")])])
    made: Command
    named: Command
    if kind == "hold":
        made = create_hold("hold", "alice", 10, target="bob")
        named = capture_hold("capture", made.transaction_id, is_service=True)
    else:
        made = transfer("transfer", ("alice", "bob"), 10)
        named = reverse("reverse", made.transaction_id, is_service=True)
    batch = [Submission([named]), Submission([deposit("more", "alice", 1)])]

    with ThreadPoolExecutor() as pool, here.write() as transaction:
        books = load_books(
            here,
            transaction.connection,
            [made],
            clock=execute._now_us,
            rules=Rules(),
            skip_busy=False,
        )
        decide(books, made)
        settled = pool.submit(settle, run, batch, timeout_s=5)
        eventually(lambda: lock_waiters(there))
        write_books(transaction, books)
        [[done], [_]] = settled.result()

    assert isinstance(done, Outcome)
    assert done.transaction.state == State.POSTED
    here.close()
    there.close()


def test_due_holds_are_paged_also_where_they_end_together(database: Database) -> None:
    run = partial(execute_batch, database, rules=Rules())
    holds = [create_hold(f"{number}", "alice", 1, expire_after_us=1) for number in range(7)]
    run([Submission([deposit("funds", "alice", 100), *holds])])
    found: list[tuple[int, str]] = []
    after = BEFORE_ALL_HOLDS

    while page := read_due_holds(database, 2**62, after=after, row_limit=3):
        assert len(page) <= 3
        found += page
        after = page[-1]

    assert found == sorted(found)
    assert len({expires_at for expires_at, _ in found}) == 1
    assert sorted(hold_id for _, hold_id in found) == sorted(hold.transaction_id for hold in holds)


def test_a_repeated_request_shows_its_hold_as_it_is_now(database: Database) -> None:
    run = partial(execute_batch, database, rules=Rules())
    hold = create_hold("hold", "alice", 10, target="bob")
    run([Submission([deposit(name, name, 100) for name in ("alice", "bob")])])
    run([Submission([hold])])
    [[captured]] = run(
        [Submission([capture_hold("capture", hold.transaction_id, is_service=True)])]
    )

    [[again]] = run([Submission([hold])])

    assert isinstance(captured, Outcome)
    assert isinstance(again, Outcome)
    assert again.hold
    assert again.hold == captured.hold
