"""Which part of the table a request wants: its query string, checked by FastAPI, and the addresses of other parts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends, Query

from airflow_durable.core.model import Decision, Mode
from airflow_durable.metadata.model import UNFINISHED_STATES
from airflow_durable.server.model import WAITING, Concern, Filters
from airflow_durable.server.paging import Cursor, Order, Page, Sort

STATES = (*UNFINISHED_STATES, "success", "failed", "upstream_failed", "skipped", "removed")
"""What the filter by state offers, beside *waiting now* and the concerns."""

MAX_ID_LENGTH = 250
"""Of Dag ids and run ids, in Airflow's database."""

_LARGEST_FIRST = frozenset({Sort.CHANGED, Sort.DURATION, Sort.TRIES})

Text = Annotated[str, Query(max_length=MAX_ID_LENGTH)]
Id = Annotated[int, Query(ge=0, lt=2**31)]


@dataclass(frozen=True)
class TableRequest:
    """Which part of the table is requested."""

    filters: Filters
    cursor: Cursor
    order: Order

    def fields(self) -> dict[str, str]:
        """Return the filters and the order as they stand in an address. What is empty is left out."""
        filters = self.filters
        order = f"{'-' if self.order.is_descending else ''}{self.order.by.value}"
        fields = {
            "dag_id": filters.dag_id,
            "child_dag_id": filters.child_dag_id,
            "task_id": filters.task_id,
            "run_id": filters.run_id,
            "state": filters.state,
            "decision": filters.decision,
            "mode": filters.mode,
            "from": _write(filters.changed_from),
            "to": _write(filters.changed_to),
            "recovered": "true" if filters.is_recovered_only else "",
            "sort": "" if self.order == Order() else order,
        }
        return {name: value for name, value in fields.items() if value}

    def link(self, **cursor: int) -> str:
        """Return the query string of another page of the same table."""
        query = urlencode({**self.fields(), **{name: value for name, value in cursor.items() if value}})
        return f"?{query}" if query else ""

    @property
    def own_link(self) -> str:
        """The query string of this page."""
        number = self.cursor.number if self.cursor.number > 1 else 0
        return self.link(before=self.cursor.before, after=self.cursor.after, page=number)

    def sorted_link(self, by: str) -> str:
        """Return the query string of the table in this order; in the opposite one if it is in this order already."""
        sort = Sort(by)
        is_descending = not self.order.is_descending if self.order.by is sort else sort in _LARGEST_FIRST
        return replace(self, order=Order(sort, is_descending), cursor=Cursor()).link()

    def direction(self, by: str) -> str:
        """Return whether the table is in this order, as ``aria-sort`` has it."""
        if self.order.by.value != by:
            return "none"
        return "descending" if self.order.is_descending else "ascending"

    @property
    def is_filtered(self) -> bool:
        """Whether not all waits are wanted."""
        return self.filters != Filters()

    def at_top(self) -> TableRequest:
        """Return the request of the first page."""
        return replace(self, cursor=Cursor())

    def previous(self, page: Page) -> str | None:
        """Return the query string of the page before this one; None: there is none."""
        if not page.has_previous or not page.waits:
            return None
        if not self.order.is_by_id:
            return self.link(page=self.cursor.number - 1)
        first = page.waits[0].id
        return self.link(after=first) if self.order.is_descending else self.link(before=first)

    def next(self, page: Page) -> str | None:
        """Return the query string of the page after this one; None: there is none."""
        if not page.has_next or not page.waits:
            return None
        if not self.order.is_by_id:
            return self.link(page=self.cursor.number + 1)
        last = page.waits[-1].id
        return self.link(before=last) if self.order.is_descending else self.link(after=last)

    def further(self, page: Page) -> str | None:
        """Return the query string by which a search continues that ended for the number of records it had read."""
        if not page.searched_to:
            return None
        at = page.searched_to
        return self.link(before=at) if self.order.is_descending else self.link(after=at)


def read_table_request(  # noqa: PLR0913, PLR0917 - the form's fields
    dag_id: Text = "",
    child_dag_id: Text = "",
    task_id: Text = "",
    run_id: Text = "",
    state: Annotated[str, Query(max_length=20)] = "",
    decision: Annotated[str, Query(max_length=20)] = "",
    mode: Annotated[str, Query(max_length=20)] = "",
    changed_from: Annotated[datetime | None, Query(alias="from")] = None,
    changed_to: Annotated[datetime | None, Query(alias="to")] = None,
    recovered: Annotated[bool, Query()] = False,  # noqa: FBT002 - FastAPI's
    sort: Annotated[str, Query(pattern=rf"^-?({'|'.join(one.value for one in Sort)})$")] = "-changed",
    before: Id = 0,
    after: Id = 0,
    page: Annotated[int, Query(ge=1, le=1000)] = 1,
) -> TableRequest:
    """Read the query string. A state, a decision or a mode that there is not is as none."""
    filters = Filters(
        dag_id.strip(),
        child_dag_id.strip(),
        task_id.strip(),
        run_id.strip(),
        state if state in {*STATES, WAITING, *(concern.value for concern in Concern)} else "",
        decision if decision in {one.value for one in Decision} else "",
        mode if mode in {one.value for one in Mode} else "",
        _in_utc(changed_from),
        _in_utc(changed_to),
        recovered,
    )
    order = Order(Sort(sort.removeprefix("-")), sort.startswith("-"))
    return TableRequest(filters, Cursor(before, after, page), order)


RequestedTable = Annotated[TableRequest, Depends(read_table_request)]


def _in_utc(moment: datetime | None) -> datetime | None:
    """Return a moment with its time zone; without one it is in UTC."""
    if moment is None:
        return None
    return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)


def _write(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else ""
