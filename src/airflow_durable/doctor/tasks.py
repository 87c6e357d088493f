"""Which tasks are durable, and what is wrong with those that are. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_durable.doctor import options
from airflow_durable.doctor.model import STORE_SINCE, Assessed, Facts, Finding, Severity, Standing
from airflow_durable.layout import count
from airflow_durable.switch.settings import Mode
from airflow_durable.switch.verdict import Kind, Verdict, classify_serialized

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_durable.metadata.trigger_tasks import TriggerTask


def assess(facts: Facts, task: TriggerTask) -> Assessed:
    """Return what a task is."""
    verdict = _classify(facts, task)
    is_on = facts.switch.mode is Mode.DURABLE
    standing, reason = Standing.EXCLUDED, verdict.reason
    if verdict.kind is Kind.OWN:
        # Where the Dag file does not say it, earlier runs do.
        is_durable = True if task.durable is None and task.key in facts.recorded else task.durable
        by_flag = {True: Standing.DURABLE, False: Standing.NOT_DURABLE, None: Standing.UNKNOWN}
        standing = by_flag[is_durable]
    elif verdict.kind is Kind.DURABLE:
        standing = Standing.DURABLE
    elif verdict.kind is Kind.MAYBE_SUBCLASS:
        # A record says that it was durable, but not by whom: a subclass of ours, or the switch.
        by_record = Standing.SWITCHED if is_on else Standing.DURABLE
        standing = by_record if task.key in facts.recorded else Standing.MAYBE
    elif verdict.kind is Kind.NOT_POSSIBLE:
        standing = Standing.NOT_POSSIBLE
    elif verdict.is_changed:
        standing = Standing.SWITCHED if is_on else Standing.WOULD_BE
    retries = _retries_of(facts, task)
    if verdict.kind is Kind.MAYBE_SUBCLASS and is_on and (retries or 0) < facts.switch.min_retries:
        retries = None
    elif retries is not None and standing in (Standing.SWITCHED, Standing.WOULD_BE):
        retries = max(retries, facts.switch.min_retries)
    return Assessed(task, verdict.kind, standing, reason, retries)


def _retries_of(facts: Facts, task: TriggerTask) -> int | None:
    # Airflow 3.0 stores no retries that are the default: a task without any may have [core] default_task_retries.
    is_default = facts.minor < (3, 1) and task.retries == 0
    return None if is_default and facts.number(options.DEFAULT_RETRIES) else task.retries


def _classify(facts: Facts, task: TriggerTask) -> Verdict:
    verdict = classify_serialized(
        facts.switch,
        dag_id=task.key.dag_id,
        task_id=task.key.task_id,
        task_type=task.type_name,
        task_module=task.module,
        tags=task.tags,
        is_trigger=True,
    )
    name = (task.module, task.type_name)
    if name in facts.own_classes:
        return Verdict(Kind.OWN)
    if verdict.kind is Kind.MAYBE_SUBCLASS and name in facts.unsafe_classes:
        reason = facts.unsafe_classes[name]
        return (
            _without_defaults(facts, Verdict(Kind.SUBCLASS)) if reason is None else Verdict(Kind.NOT_POSSIBLE, reason)
        )
    if verdict.kind is Kind.STOCK and facts.missing_parts:
        return Verdict(Kind.NOT_POSSIBLE, f"the standard provider lacks {', '.join(facts.missing_parts)}")
    return _without_defaults(facts, verdict)


def _without_defaults(facts: Facts, verdict: Verdict) -> Verdict:
    """Return the verdict, but for a default in ``[durable]`` that cannot be used: then the switch changes no task."""
    names = ", ".join(facts.unusable_defaults)
    if not names or not verdict.is_changed:
        return verdict
    return Verdict(Kind.NOT_POSSIBLE, f"a default in [durable] cannot be used: {names}")


def check(facts: Facts, tasks: Sequence[Assessed]) -> Iterator[Finding]:
    """Yield what there is to know of the tasks."""
    durable = [one for one in tasks if one.standing.is_durable]
    yield from _check_retries(tasks)
    yield from _check_identity(facts, durable)
    yield from _check_deferrable(facts, durable)
    yield from _check_switch(facts, tasks)
    yield from _check_others(tasks)


def _check_retries(tasks: Sequence[Assessed]) -> Iterator[Finding]:
    advice = "Set retries=2 or more, or [durable] stock_operators_min_retries."
    says = "with retries=0: after a crash there is no next try that could find the child run."
    without = [one for one in tasks if one.retries == 0]
    if durable := [one for one in without if one.standing.is_durable]:
        what = count(len(durable), "durable task")
        yield Finding(Severity.PROBLEM, "no_retries", f"{what} {says}", advice, _names(durable))
    if would_be := [one for one in without if one.standing is Standing.WOULD_BE]:
        what = f"{count(len(would_be), 'task')} that the switch would make durable,"
        yield Finding(Severity.NOTE, "no_retries_yet", f"{what} {says}", advice, _names(would_be))
    hasty = [one for one in tasks if one.standing.is_durable and one.retries and one.task.retry_delay_seconds == 0]
    if hasty:
        yield Finding(
            Severity.WARNING,
            "no_retry_delay",
            f"{count(len(hasty), 'durable task')} without a retry delay: a short outage of the API server uses up all "
            f"retries.",
            "Set retry_delay to a minute or more.",
            _names(hasty),
        )


def _check_identity(facts: Facts, durable: Sequence[Assessed]) -> Iterator[Finding]:
    fixed = [one for one in durable if one.task.has_fixed_id]
    if not fixed:
        return
    what = f"{count(len(fixed), 'durable task')} with a fixed trigger_run_id or logical_date"
    if facts.minor >= STORE_SINCE:
        yield Finding(
            Severity.NOTE,
            "fixed_identity",
            f"{what}: a failed child run cannot be replaced by a new one.",
            "Remove the fixed identity if it was there only to prevent a second run.",
            _names(fixed),
        )
    else:
        yield Finding(
            Severity.WARNING,
            "fixed_identity",
            f"{what}: this Airflow ({facts.airflow_version}) keeps no record, so a run of their own may be taken for "
            f"somebody else's.",
            "Remove the fixed identity, or upgrade to Airflow 3.3.",
            _names(fixed),
        )


def _check_deferrable(facts: Facts, durable: Sequence[Assessed]) -> Iterator[Finding]:
    deferrable = [one for one in durable if one.task.deferrable]
    unknown = [one for one in durable if one.task.deferrable is None]
    if not deferrable or facts.jobs is None:
        if unknown and facts.jobs is not None and not _triggerers(facts):
            yield Finding(
                Severity.NOTE,
                "triggerer",
                f"No triggerer runs. Whether {count(len(unknown), 'durable task is', 'durable tasks are')} deferrable "
                f"could not be read.",
                "Start a triggerer, with airflow-durable installed, if one of them is.",
                _names(unknown),
            )
        return
    hosts = _triggerers(facts)
    if not hosts:
        yield Finding(
            Severity.PROBLEM,
            "no_triggerer",
            f"{count(len(deferrable), 'durable task is', 'durable tasks are')} deferrable, and no triggerer runs.",
            "Start `airflow triggerer` where airflow-durable is installed.",
            _names(deferrable),
        )
    else:
        yield Finding(
            Severity.NOTE,
            "triggerer",
            f"{count(len(deferrable), 'durable task is', 'durable tasks are')} deferrable. A triggerer without "
            f"airflow-durable fails them; what is installed there cannot be seen from here.",
            f"Run `airflow-durable --version` on {', '.join(hosts)}.",
            _names(deferrable),
        )


def _triggerers(facts: Facts) -> list[str]:
    return sorted({job.hostname for job in facts.jobs or () if job.kind == "TriggererJob"})


def _check_switch(facts: Facts, tasks: Sequence[Assessed]) -> Iterator[Finding]:
    would_be = [one for one in tasks if one.standing is Standing.WOULD_BE]
    if would_be:
        is_report = facts.switch.mode is Mode.REPORT
        yield Finding(
            Severity.NOTE,
            "not_switched",
            f"{count(len(would_be), 'stock task is', 'stock tasks are')} not durable: a crash makes each start a "
            f"second child run.",
            "Set [durable] stock_operators = durable" + (" (it is report now)." if is_report else "."),
            _names(would_be),
        )
    recorded = [one for one in would_be if one.task.key in facts.recorded]
    if recorded:
        yield Finding(
            Severity.WARNING,
            "switch_differs",
            f"{count(len(recorded), 'stock task has', 'stock tasks have')} records of durable runs, though the switch "
            f"is {facts.switch.mode.value} here: another component has other options, or it was on before.",
            "Set [durable] stock_operators to the same value in every component.",
            _names(recorded),
        )
    switched = [one for one in tasks if one.standing is Standing.SWITCHED and one.task.key not in facts.recorded]
    if switched and facts.kind == "database" and facts.minor >= STORE_SINCE:
        yield Finding(
            Severity.NOTE,
            "switch_unproven",
            f"{count(len(switched), 'task')} that the switch makes durable left no record yet: not run since, or a "
            f"component lacks the package or the option.",
            "Run this again after their next run.",
            _names(switched),
        )
    maybe = [one for one in tasks if one.standing is Standing.MAYBE]
    if maybe:
        yield Finding(
            Severity.NOTE,
            "subclasses",
            f"{count(len(maybe), 'task is', 'tasks are')} of other classes that trigger Dag runs; only their code says "
            f"whether the switch can make them durable.",
            "Use --import-classes, or [durable] stock_operators = report and the Dag processor's log.",
            _names(maybe),
        )
    impossible = [one for one in tasks if one.standing is Standing.NOT_POSSIBLE]
    for reason in sorted({one.reason for one in impossible}):
        chosen = [one for one in impossible if one.reason == reason]
        yield Finding(
            Severity.WARNING if facts.switch.mode is Mode.DURABLE else Severity.NOTE,
            "not_possible",
            f"{count(len(chosen), 'task')} cannot be made durable: {reason}.",
            "Change that, or leave it as it is.",
            _names(chosen),
        )


def _check_others(tasks: Sequence[Assessed]) -> Iterator[Finding]:
    for standing, name, says, advice in (
        (
            Standing.UNKNOWN,
            "durable_unknown",
            "of airflow_durable's operator, and neither the serialized Dag nor the Dag file says whether it is durable",
            "See `airflow-durable inspect` for one of their runs.",
        ),
        (Standing.NOT_DURABLE, "durable_off", "of airflow_durable's operator with durable=False", "Set durable=True."),
        (Standing.EXCLUDED, "opted_out", "left alone by the switch's options or a tag", "Nothing, if it is meant so."),
    ):
        chosen = [one for one in tasks if one.standing is standing]
        if chosen:
            yield Finding(
                Severity.NOTE, name, f"{count(len(chosen), 'task is', 'tasks are')} {says}.", advice, _names(chosen)
            )


def _names(tasks: Sequence[Assessed]) -> tuple[str, ...]:
    return tuple(sorted(one.name for one in tasks))
