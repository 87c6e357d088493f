"""The search: what is asked of a deployment, in which order. What costs much is asked only about what may matter."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_durable.audit.ascription import ascribe
from airflow_durable.audit.model import Dismissal, Finding, Report
from airflow_durable.audit.rules import is_durable_run_id, judge
from airflow_durable.audit.source import Moments, Spans
from airflow_durable.metadata.model import DagRunKey
from airflow_durable.switch.verdict import MANY_MODULE, MANY_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from datetime import datetime

    from airflow_durable.audit.model import Instance, Trace, TriggeredRun
    from airflow_durable.audit.source import Source
    from airflow_durable.metadata.model import InstanceKey, TaskKey
    from airflow_durable.metadata.trigger_tasks import TriggerTask


def audit(
    source: Source,
    *,
    now: datetime,
    dag_ids: Collection[str] = (),
    since: datetime | None = None,
    report_progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """
    Find the duplicates that retries of stock operators have made.

    :param dag_ids: of the parents that are looked at; empty: all. Whether a run is theirs, all parents are asked.
    :param since: only runs that began since then.
    :param report_progress: is called with a line of progress at a time.
    :raises SourceError: the deployment could not be read.
    """
    search = _Search(source, since, report_progress)
    search.select(dag_ids)
    search.find_unclaimed()
    search.ask_others()
    return search.conclude(now)


@dataclass
class _Pool:
    """The parents that trigger one Dag, the runs of that Dag in their attempts' times, and the unclaimed among them."""

    instances: list[Instance] = field(default_factory=list)
    runs: dict[DagRunKey, TriggeredRun] = field(default_factory=dict)
    unclaimed: list[TriggeredRun] = field(default_factory=list)


class _Search:
    def __init__(self, source: Source, since: datetime | None, report_progress: Callable[[str], None]) -> None:
        self._source = source
        self._since = since
        self._report_progress = report_progress
        self._tasks: list[TaskKey] = []
        self._selected_tasks = 0
        self._selected: set[InstanceKey] = set()
        self._traces: dict[InstanceKey, Trace] = {}
        self._pools: dict[str, _Pool] = defaultdict(_Pool)
        self._others: list[Instance] = []

    def select(self, dag_ids: Collection[str]) -> None:
        """Find the retried parents, and the Dags that they trigger."""
        self._report_progress("Looking for the tasks that trigger Dag runs.")
        self._tasks = self._source.tasks()
        tasks = [task for task in self._tasks if not dag_ids or task.dag_id in dag_ids]
        self._selected_tasks = len(tasks)
        self._report_progress(f"Looking for the retried ones among the instances of {len(tasks)} tasks.")
        instances = list(self._source.retried(tasks, self._since))
        self._selected = {instance.key for instance in instances}
        self._report_progress(f"Reading what {len(instances)} retried parents have left behind.")
        self._traces |= self._source.traces([instance.key for instance in instances])
        child_dags = _resolve(self._traces)
        for instance in instances:
            if not self._is_durable(instance.key) and (dag_id := child_dags.get(instance.key)):
                self._pools[dag_id].instances.append(instance)

    def find_unclaimed(self) -> None:
        """Find the runs in these parents' times that none of them claims."""
        for number, (dag_id, pool) in enumerate(sorted(self._pools.items()), start=1):
            self._report_progress(f"Reading the runs of child Dag {number} of {len(self._pools)}.")
            self._add_runs(pool, dag_id, pool.instances)
            claims = _claims(self._traces, pool.runs)
            pool.unclaimed = [
                run
                for key, run in pool.runs.items()
                if key not in claims
                and not is_durable_run_id(key.run_id)
                and (self._since is None or run.began >= self._since)
            ]

    def ask_others(self) -> None:
        """Find the parents beside the selected that ran when an unclaimed run began, and what they claim."""
        moments = [run.began for pool in self._pools.values() for run in pool.unclaimed]
        if not moments:
            return
        self._report_progress(f"Looking for other parents of {len(moments)} unclaimed runs.")
        around = self._source.around(self._tasks, Moments(moments))
        others = [instance for instance in around if instance.key not in self._selected]
        self._traces |= self._source.traces([instance.key for instance in others])
        self._others = [instance for instance in others if not self._is_durable(instance.key)]
        child_dags = _resolve(self._traces)
        for dag_id, pool in self._pools.items():
            if not pool.unclaimed:
                continue
            strangers = [one for one in self._others if child_dags.get(one.key, dag_id) == dag_id]
            self._add_runs(pool, dag_id, [one for one in strangers if len(one.attempts) > 1])
            pool.instances += strangers
            claims = _claims(self._traces, pool.runs)
            pool.unclaimed = [run for run in pool.unclaimed if run.key not in claims]

    def conclude(self, now: datetime) -> Report:
        """Judge every run that one of the selected parents may have lost."""
        findings: list[Finding] = []
        dismissed: Counter[Dismissal] = Counter()
        unexplained = 0
        for dag_id, pool in sorted(self._pools.items()):
            owned = {one.key: _own(one, dag_id, self._traces[one.key], pool.runs) for one in pool.instances}
            cases = ascribe(pool.unclaimed, pool.instances, owned, pool.runs, self._selected)
            unexplained += len(pool.unclaimed) - len(cases)
            started: dict[InstanceKey, dict[int, TriggeredRun]] = defaultdict(dict)
            for case in cases:
                started[case.host.instance.key][case.host.attempt.try_number] = case.run
            for key, own in owned.items():
                if own and (run := pool.runs.get(DagRunKey(dag_id, own[1]))):
                    started[key][own[0]] = run
            for case in cases:
                key = case.host.instance.key
                if key in self._selected:
                    verdict = judge(case, self._traces[key], started[key], owned[key])
                    if isinstance(verdict, Finding):
                        findings.append(verdict)
                    else:
                        dismissed[verdict] += 1
        durable = sum(map(self._is_durable, self._selected))
        child_dags = _resolve(self._traces)
        return Report(
            made_at=now,
            findings=tuple(sorted(findings, key=lambda one: (one.sureness.rank, one.run.began, one.run.key))),
            tasks=self._selected_tasks,
            parents=len(self._selected),
            durable_parents=durable,
            unresolved=sum(key not in child_dags and not self._is_durable(key) for key in self._selected),
            unexplained=unexplained,
            dismissed=dict(dismissed),
            trigger_tasks=self._describe({finding.parent.task for finding in findings}),
        )

    def _is_durable(self, key: InstanceKey) -> bool:
        """
        Return whether a parent is durable: it has a record, or (3.0 to 3.2) its child a run id that was derived.

        A task with many children leaves neither there. It is known by its operator, where it has not left what one
        child leaves: before the Dag was edited, the task may have been another operator's.
        """
        trace = self._traces[key]
        if trace.recorded is not None or (trace.claimed is not None and is_durable_run_id(trace.claimed)):
            return True
        known = self._source.trigger_tasks().get(key.task)
        is_many = known is not None and (known.module, known.type_name) == (MANY_MODULE, MANY_NAME)
        return is_many and trace.claimed is None and trace.linked is None

    def _describe(self, tasks: Collection[TaskKey]) -> dict[TaskKey, TriggerTask]:
        known = self._source.trigger_tasks() if tasks else {}
        return {task: known[task] for task in tasks if task in known}

    def _add_runs(self, pool: _Pool, dag_id: str, instances: Iterable[Instance]) -> None:
        attempts = [attempt for instance in instances for attempt in instance.attempts]
        if attempts:
            pool.runs |= {run.key: run for run in self._source.runs(dag_id, Spans(attempts))}


def _own(
    instance: Instance, dag_id: str, trace: Trace, runs: Mapping[DagRunKey, TriggeredRun]
) -> tuple[int, str] | None:
    """
    Return the run that a parent names, and the attempt that started it: the last one, if the run's time is not known.

    The extra link is written before the run is requested, so it counts only if the run is there.
    """
    run_id = trace.claimed
    if run_id is None and trace.linked is not None and trace.linked in runs:
        run_id = trace.linked.run_id
    if run_id is None:
        return None
    run = runs.get(DagRunKey(dag_id, run_id))
    starter = next((one for one in instance.attempts if run and one.contains(run.began)), instance.attempts[-1])
    return starter.try_number, run_id


def _claims(traces: Mapping[InstanceKey, Trace], runs: Mapping[DagRunKey, TriggeredRun]) -> set[DagRunKey]:
    """Return the runs that a parent names as its own. One whose child Dag is not known claims the run id in any."""
    claims: set[DagRunKey] = set()
    anywhere: set[str] = set()
    for trace in traces.values():
        claims |= trace.recorded or set()
        if trace.linked:
            claims.add(trace.linked)
        if trace.claimed:
            dag_id = _child_dag(trace)
            if dag_id:
                claims.add(DagRunKey(dag_id, trace.claimed))
            else:
                anywhere.add(trace.claimed)
    return claims | {key for key in runs if key.run_id in anywhere}


def _child_dag(trace: Trace) -> str | None:
    return trace.linked.dag_id if trace.linked else trace.child_dag_id


def _resolve(traces: Mapping[InstanceKey, Trace]) -> dict[InstanceKey, str]:
    """
    Return the Dag that each parent triggers.

    By its extra link, else by its rendered field; else, if all other parents of its task trigger the same, that one.
    """
    found: dict[InstanceKey, str] = {}
    by_task: dict[TaskKey, set[str]] = defaultdict(set)
    for key, trace in traces.items():
        if dag_id := _child_dag(trace):
            found[key] = dag_id
            by_task[key.task].add(dag_id)
    for key in traces:
        if key not in found and len(by_task[key.task]) == 1:
            found[key] = next(iter(by_task[key.task]))
    return found
