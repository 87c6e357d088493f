"""How often the totals are counted."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, cast

from airflow_durable.server.cache import Cache
from airflow_durable.server.totals import FRESH_SECONDS, Counts

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

SESSION = cast("Session", None)


def test_counts_are_given_again_while_they_are_fresh() -> None:
    now = [0.0]
    made: list[Counts] = []

    def count(_: Any) -> Counts:  # noqa: ANN401 - no session is needed
        made.append(Counts())
        return made[-1]

    cache = Cache(count, FRESH_SECONDS, clock=lambda: now[0])
    assert cache.get(SESSION) is cache.get(SESSION)
    now[0] = FRESH_SECONDS - 1
    assert cache.get(SESSION) is made[0]
    now[0] = FRESH_SECONDS + 1
    assert cache.get(SESSION) is made[1]
    assert len(made) == 2


def test_old_counts_are_given_while_they_are_counted_anew() -> None:
    now = [0.0]
    is_counting, may_end = threading.Event(), threading.Event()
    first, second = Counts(), Counts()
    results = iter((first, second))

    def count(_: Any) -> Counts:  # noqa: ANN401 - no session is needed
        if now[0]:
            is_counting.set()
            assert may_end.wait(60)
        return next(results)

    cache = Cache(count, FRESH_SECONDS, clock=lambda: now[0])
    assert cache.get(SESSION) is first
    now[0] = FRESH_SECONDS + 1
    counter = threading.Thread(target=cache.get, args=(SESSION,))
    counter.start()
    assert is_counting.wait(60)
    assert cache.get(SESSION) is first
    may_end.set()
    counter.join(60)
    assert cache.get(SESSION) is second
