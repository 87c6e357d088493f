"""
What survives between tries: Airflow's task state store, or nothing if it has none.

The store fails closed: a journal that cannot be read or written ends the try before anything is triggered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from airflow_durable import task_sdk
from airflow_durable.core.asks import withdrawn
from airflow_durable.core.errors import JournalReadError, JournalWriteError
from airflow_durable.core.stored import FIRST_VERSION, dump, key_of, load
from airflow_durable.server_errors import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_durable.core.record import Record


class Journal(Protocol):
    """Where the record is kept."""

    has_store: bool

    def read(self, call: int) -> Record | None:
        """Return the newest entry of the call, None if there is none."""

    def write(self, record: Record) -> None:
        """Store the record as the newest entry of its call."""

    def position(self, call: int) -> dict[str, Any]:
        """Return where the journal of the call stands, as a deferral carries it: JSON."""

    def restore(self, call: int, position: Mapping[str, Any]) -> None:
        """Continue where the journal of the call stood before the deferral."""


class StoreJournal:
    """
    The journal on ``context["task_state_store"]`` (Airflow 3.3 and later).

    The store is keyed by (Dag run, task, map index): it outlives retry, clear and success, and goes with the parent's
    Dag run. Every write is refused to a superseded try, as its task instance id exists no more
    (``execution_api/routes/task_state_store.py``, 3.3); a read under one says that there is no such key.

    Each entry has a key of its own and is never changed, so a write that arrives twice or late changes nothing. All
    entries that belong together have one *root*: the id of the task instance that wrote the first of them without
    having read. Entries with another root are of a task instance that was deleted and made anew.

    :param task_instance_id: of this try.
    """

    has_store = True

    # What is stored, and under which keys.
    _key_of: Callable[[int, int], str] = staticmethod(key_of)
    _dump: Callable[[Record], dict[str, Any]] = staticmethod(dump)
    _load: Callable[[object], Record] = staticmethod(load)

    def __init__(self, store: Any, task_instance_id: str) -> None:  # noqa: ANN401 - differs by version
        self._store = store
        self._task_instance_id = task_instance_id
        self._calls: dict[int, _CallEntries] = {}

    def read(self, call: int) -> Record | None:
        """Return the newest entry; to a try that wrote before it read, that of an earlier task instance."""
        known = self._calls.get(call)
        is_blind = known is not None and not known.is_read
        entries = self._read_all(call)
        self._calls[call] = entries
        if is_blind and (earlier := entries.newest_of_other_root()) is not None:
            return earlier
        return entries.newest()

    def write(self, record: Record) -> None:
        """
        Store the entry, without an expiry: the default one could end before the child does.

        Where a read found no entry, or no further one, that is not believed at once: a gateway, or a server without the
        route, answers 404, and Airflow's client takes that for a key that is not there (3.3, ``sdk/api/client.py``). So
        the first key that is written after a read is read again before, and a first entry is read back.
        """
        entries = self._calls.setdefault(record.call, _CallEntries(self._task_instance_id, is_read=False))
        if entries.is_first_version:
            # Release 0.1.0 would continue from its own record, which is no longer the newest: it has to fail on it.
            self._set(record, 0, entries.root)
            entries.is_first_version = False
        is_first = entries.is_read and entries.next == 0
        if entries.is_read and not entries.is_attempted and self._get(record.call, entries.next) is not None:
            raise JournalReadError("a first read said that there was no such entry, and a second one found it")
        # From here on the key may hold what this try has written, also if it learns of no reply.
        entries.is_attempted = True
        self._set(record, entries.next, entries.root)
        if is_first:
            self._confirm(record)
        entries.wrote(record)

    def position(self, call: int) -> dict[str, Any]:
        """Return the number of the next entry, and the root, as a deferral carries them."""
        entries = self._calls[call]
        return {"root": entries.root, "next": entries.next}

    def restore(self, call: int, position: Mapping[str, Any]) -> None:
        """
        Continue where the journal stood before the deferral, without a request.

        The try is the same, so nobody else wrote. A deferral of release 0.1.0 says no position: then it is read.
        """
        root, following = position.get("root"), position.get("next")
        if isinstance(root, str) and type(following) is int and following >= 0:
            entries = self._calls[call] = _CallEntries(root, is_read=True, start=following)
            entries.is_attempted = True
        else:
            self.read(call)

    def _set(self, record: Record, sequence: int, root: str) -> None:
        from airflow.sdk.execution_time.context import NEVER_EXPIRE

        key, value = self._key_of(record.call, sequence), {**self._dump(record), "root": root}
        answer = task_sdk.ask(lambda: self._store.set(key, value, retention=NEVER_EXPIRE))
        if isinstance(answer, Failure):
            raise JournalWriteError(record.dag_id, record.run_id, answer.said, is_transient=answer.is_transient)

    def _get(self, call: int, sequence: int) -> Any:  # noqa: ANN401 - whatever is stored
        key = self._key_of(call, sequence)
        answer = task_sdk.ask(lambda: self._store.get(key))
        if isinstance(answer, Failure):
            raise JournalReadError(answer.said, is_transient=answer.is_transient)
        return answer

    def _read_all(self, call: int) -> _CallEntries:
        """
        Read the entries from the first one on; where that is gone, those that have outlived it.

        A clear deletes the record (3.4), and the process of a cleared try still writes until it is stopped: the entry
        after those that are gone. If more than the first are gone, nothing is found here. Then this try's own entries
        come first, so those that have outlived the record count no more.
        """
        entries = self._read_from(call, 0)
        outlived = entries if entries.found else self._read_from(call, 1)
        return outlived if outlived.found else entries

    def _read_from(self, call: int, start: int) -> _CallEntries:
        entries = _CallEntries(self._task_instance_id, is_read=True, start=start)
        while (stored := self._get(call, entries.next)) is not None:
            record = self._load(stored)
            if not entries.found and stored["version"] == FIRST_VERSION:
                entries.is_first_version = True
            entries.add(record, str(stored.get("root", "")))
        return entries

    def _confirm(self, record: Record) -> None:
        written, following = self._get(record.call, 0), self._get(record.call, 1)
        # What the reconciler writes when it does what the entry asks for is no sign of an earlier try.
        if written is None or following not in (None, withdrawn(written)):
            raise JournalReadError(
                "a read said that there was none, and reading what was written shows that it is wrong"
            )


class _CallEntries:
    """What is known of one call's entries."""

    def __init__(self, task_instance_id: str, *, is_read: bool, start: int = 0) -> None:
        self.root = task_instance_id
        self.is_read = is_read
        self._start = start
        self.is_first_version = False
        self.is_attempted = False
        self.found: list[tuple[Record, str]] = []

    @property
    def next(self) -> int:
        """The number that the next entry gets."""
        return self._start + len(self.found)

    def add(self, record: Record, root: str) -> None:
        if not self.found and root:
            self.root = root
        self.found.append((record, root))

    def reopen(self, newest: Record) -> None:
        """Take note of the newest entry, which is known from elsewhere."""
        self._start -= 1
        self.found.append((newest, self.root))

    def replace_newest(self, record: Record) -> None:
        """Take note that the last entry was written again."""
        self.found[-1] = (record, self.root)

    def wrote(self, record: Record) -> None:
        if not self.found or self.found[-1] != (record, self.root):
            self.found.append((record, self.root))

    def newest(self) -> Record | None:
        return next((record for record, root in reversed(self.found) if root in {self.root, ""}), None)

    def newest_of_other_root(self) -> Record | None:
        return next((record for record, root in reversed(self.found) if root != self.root), None)


@dataclass(frozen=True)
class NoJournal(Journal):
    """
    No journal at all (Airflow 3.0 to 3.2): the child's run id follows from its parent, so the Dag run table has it.

    What it cannot know is in :mod:`airflow_durable.core.recovery`.
    """

    has_store: bool = False

    def read(self, call: int) -> Record | None:  # noqa: ARG002 - see Journal
        """Return None."""
        return None

    def write(self, record: Record) -> None:
        """Do nothing: there is nothing that could be forgotten."""

    def position(self, call: int) -> dict[str, Any]:  # noqa: ARG002 - see Journal
        """Return nothing."""
        return {}

    def restore(self, call: int, position: Mapping[str, Any]) -> None:
        """Do nothing."""
