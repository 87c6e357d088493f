"""Which attempt may have started which unclaimed run. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_durable.audit.rules import Case, Host

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from airflow_durable.audit.model import Instance, TriggeredRun
    from airflow_durable.metadata.model import DagRunKey, InstanceKey


def ascribe(
    runs: Collection[TriggeredRun],
    instances: Iterable[Instance],
    owned: Mapping[InstanceKey, tuple[int, str] | None],
    known: Mapping[DagRunKey, TriggeredRun],
    preferred: Collection[InstanceKey] = (),
) -> list[Case]:
    """
    Ascribe unclaimed runs of one Dag to the attempts that may have started them, one to one.

    An attempt that started the run which its parent names has started no other. Where several attempts could be meant,
    those whose parent's own run has another conf are ruled out if one has the same. Of the rest, one that has lost its
    run goes before one that has not, a preferred parent's before others, and the one with the shortest delay first.

    :param owned: the attempt that started the run which a parent names, and the run's id.
    :param known: the Dag's runs as far as known.
    """
    hosts = [
        Host(instance, attempt)
        for instance in instances
        for attempt in instance.attempts
        if (owned[instance.key] or (None,))[0] != attempt.try_number
    ]
    digests = _own_digests(owned, known)
    fitting = {run.key: _narrow(run, found, digests) for run, found in _find_fitting(hosts, runs)}
    taken = _match(fitting, {run.key: run for run in runs}, preferred)
    contested = {host.key for run_key, found in fitting.items() if run_key not in taken for host in found}
    return [_make_case(run, taken[run.key], fitting[run.key], contested) for run in runs if run.key in taken]


def _make_case(run: TriggeredRun, host: Host, fitting: list[Host], contested: set[tuple[InstanceKey, int]]) -> Case:
    others = [other for other in fitting if other.key != host.key]
    return Case(
        run=run,
        host=host,
        rivals=tuple(sorted({other.instance.key for other in others if not other.is_lost})),
        twins=tuple(sorted({other.instance.key for other in others if other.is_lost})),
        is_contested=host.key in contested,
    )


def _own_digests(
    owned: Mapping[InstanceKey, tuple[int, str] | None], known: Mapping[DagRunKey, TriggeredRun]
) -> dict[InstanceKey, str]:
    """Return the digest of the conf of each parent's own run, where that run is known."""
    by_run_id = {key.run_id: run.digest for key, run in known.items()}
    return {key: by_run_id[own[1]] for key, own in owned.items() if own and own[1] in by_run_id}


def _find_fitting(hosts: list[Host], runs: Iterable[TriggeredRun]) -> Iterable[tuple[TriggeredRun, list[Host]]]:
    """Return the attempts that may have started each run. One sweep over the time, however many there are of both."""
    waiting = sorted(hosts, key=lambda host: host.attempt.began_at, reverse=True)
    active: list[Host] = []
    for run in sorted(runs, key=lambda run: run.began):
        while waiting and waiting[-1].attempt.began_at <= run.began:
            active.append(waiting.pop())
        active = [host for host in active if host.attempt.contains(run.began)]
        yield run, list(active)


def _narrow(run: TriggeredRun, fitting: list[Host], digests: Mapping[InstanceKey, str]) -> list[Host]:
    """Leave out the attempts whose parent's own run has another conf, if the own run of one has the same."""
    if not any(digests.get(host.instance.key) == run.digest for host in fitting):
        return fitting
    return [host for host in fitting if digests.get(host.instance.key, run.digest) == run.digest]


def _match(
    fitting: Mapping[DagRunKey, list[Host]], runs: Mapping[DagRunKey, TriggeredRun], preferred: Collection[InstanceKey]
) -> dict[DagRunKey, Host]:
    pairs = sorted(
        ((key, host) for key, found in fitting.items() for host in found),
        key=lambda pair: (
            not pair[1].is_lost,
            pair[1].instance.key not in preferred,
            runs[pair[0]].began - pair[1].attempt.began_at,
            pair[0],
            pair[1].key,
        ),
    )
    taken: dict[DagRunKey, Host] = {}
    used = set()
    for key, host in pairs:
        if key not in taken and host.key not in used:
            taken[key] = host
            used.add(host.key)
    return taken
