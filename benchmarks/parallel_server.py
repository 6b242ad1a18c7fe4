"""
`wallet serve` with a database transaction for each request, sixteen at a time.

    python -m benchmarks.parallel_server serve

So most services do it. `WALLET_BATCH_MAX=1` has one connection, and one transaction at a time.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import URL, Engine, create_engine

from wallet_service.__main__ import main
from wallet_service.engine import group_commit
from wallet_service.engine.combine import Combiner
from wallet_service.storage import postgresql

CONNECTIONS = 16


class _Each(Combiner[Any, Any]):
    """Runs each request by itself, on its own thread."""

    def ask(
        self,
        read: Callable[[], Any],
        answer: Callable[[Any], Any],
        *,
        deadline: float,  # noqa: ARG002 (loads have none)
        size: int = 1,  # noqa: ARG002
    ) -> Any:
        """Run it."""
        (result,) = self._run_batch([read()])
        return answer(result)


def _create_engine(url: URL, **options: Any) -> Engine:
    return create_engine(url, **options | {"pool_size": CONNECTIONS, "max_overflow": 0})


group_commit.Combiner = _Each  # type: ignore[misc]
postgresql.create_engine = _create_engine  # type: ignore[assignment]

if __name__ == "__main__":
    main()
