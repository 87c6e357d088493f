"""Each rule of the audit, on deployments that are made up."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_durable.audit.model import Dismissal, Finding, Report, Sureness
from airflow_durable.audit.rules import TRIGGER_LIMIT, began, digest_conf, is_cleared, is_durable_run_id, order
from airflow_durable.audit.search import audit
from airflow_durable.core.run_ids import date_in
from airflow_durable.metadata.model import DagRunKey
from airflow_durable.metadata.trigger_tasks import TriggerTask
from airflow_durable.switch.verdict import MANY_MODULE, MANY_NAME

from .audit_fakes import CHILD, NOON, Deployment, at, tried

LATE = TRIGGER_LIMIT.total_seconds() + 1


@pytest.fixture
def crashed() -> Deployment:
    """Return the plain case: a parent that was retried while its first run went on."""
    deployment = Deployment()
    deployment.parent("parent", tried(1, 0, 100), tried(2, 110, 900, "success"), claimed="second")
    deployment.run("first", 2)
    deployment.run("second", 112, end=800)
    return deployment


def look(deployment: Deployment, **options: object) -> Report:
    return audit(deployment, now=at(10_000), **options)  # type: ignore[arg-type] # audit's own


def find(deployment: Deployment) -> Finding:
    (finding,) = look(deployment).findings
    return finding


def rules_of(finding: Finding) -> set[str]:
    return {one.rule for one in finding.evidence}


def test_a_lost_run_is_found(crashed: Deployment) -> None:
    finding = find(crashed)
    assert finding.sureness is Sureness.CERTAIN
    assert (finding.run.key, finding.attempt.try_number) == (DagRunKey(CHILD, "first"), 1)
    assert (finding.later, finding.later_try) == (DagRunKey(CHILD, "second"), 2)
    assert rules_of(finding) == {"operator", "window", "retry", "healthy", "named", "conf"}
    assert finding.could_also_be == ()


def test_a_chain_of_crashes_loses_a_run_each() -> None:
    deployment = Deployment()
    attempts = (tried(1, 0, 100), tried(2, 110, 200), tried(3, 210, 900, "success"))
    deployment.parent("parent", *attempts, claimed="third")
    for name, start in (("first", 1), ("second", 111), ("third", 211)):
        deployment.run(name, start)
    findings = look(deployment).findings
    assert [(one.run.key.run_id, one.later.run_id, one.sureness.value) for one in findings] == [
        ("first", "second", "certain"),
        ("second", "third", "certain"),
    ]


def test_a_run_that_had_failed_was_due_to_be_started_again(crashed: Deployment) -> None:
    crashed.known = []
    crashed.run("first", 2, state="failed", end=99)
    crashed.run("second", 112, end=800)
    report = look(crashed)
    assert (report.findings, report.dismissed) == ((), {Dismissal.CHILD_FAILED: 1})


def test_a_run_that_failed_after_the_retry_was_healthy_before(crashed: Deployment) -> None:
    crashed.known = []
    crashed.run("first", 2, state="failed", end=111)
    crashed.run("second", 112)
    assert find(crashed).sureness is Sureness.CERTAIN


def test_a_run_that_failed_before_the_attempt_that_started_another_was_due() -> None:
    """The second try died before it triggered: what matters is what the third one met."""
    deployment = Deployment()
    deployment.parent("parent", tried(1, 0, 100), tried(2, 110, 200), tried(3, 300, 900, "success"), claimed="third")
    deployment.run("first", 2, state="failed", end=250)
    deployment.run("third", 301, end=800)
    assert look(deployment).dismissed == {Dismissal.CHILD_FAILED: 1}


@pytest.mark.parametrize(("waits", "sureness"), [(False, Sureness.CERTAIN), (None, Sureness.POSSIBLE)])
def test_fire_and_forget_starts_a_failed_run_twice_without_need(waits: object, sureness: Sureness) -> None:
    """It only had to be started; that a parent does not wait is told, or seen: it succeeds before its child ends."""
    deployment = Deployment()
    deployment.parent("parent", tried(1, 0, 10), tried(2, 110, 115, "success"), claimed="second", waits=waits)
    deployment.run("first", 2, state="failed", end=50)
    deployment.run("second", 112, end=800)
    finding = find(deployment)
    assert "the parent only has to start it" in " ".join(one.says for one in finding.evidence)
    assert finding.sureness is sureness


def test_a_run_that_was_cleared_since_is_possible_at_most(crashed: Deployment) -> None:
    """It may have failed before the retry, and a person had it run again."""
    first = next(run for run in crashed.known if run.key.run_id == "first")
    crashed.known.remove(first)
    crashed.known.append(replace(first, is_cleared=True))
    finding = find(crashed)
    assert finding.sureness is Sureness.POSSIBLE
    assert "cleared_run" in rules_of(finding)
    assert "healthy" not in rules_of(finding)


def test_a_clear_queues_a_run_anew() -> None:
    assert is_cleared(NOON, NOON + timedelta(hours=1))
    assert not is_cleared(NOON, NOON + timedelta(seconds=1))
    assert not is_cleared(NOON, None)


def test_an_attempt_that_succeeded_was_cleared_on_purpose() -> None:
    deployment = Deployment()
    attempts = (tried(1, 0, 100, "success"), tried(2, 200, 300, "success", max_tries=4))
    deployment.parent("parent", *attempts, claimed="second")
    deployment.run("first", 2, end=90)
    deployment.run("second", 202, end=290)
    report = look(deployment)
    assert (report.findings, report.dismissed) == ((), {Dismissal.RERUN: 1})


def test_a_clear_of_a_crashed_parent_is_possible_at_most() -> None:
    deployment = Deployment()
    attempts = (tried(1, 0, 100, max_tries=0), tried(2, 200, 300, "success", max_tries=1))
    deployment.parent("parent", *attempts, claimed="second")
    deployment.run("first", 2)
    deployment.run("second", 202)
    finding = find(deployment)
    assert finding.sureness is Sureness.POSSIBLE
    assert "clear" in rules_of(finding)


def test_without_a_second_run_there_is_no_duplicate() -> None:
    deployment = Deployment()
    deployment.parent("parent", tried(1, 0, 100), tried(2, 110, None, "running"))
    deployment.run("first", 2)
    assert look(deployment).dismissed == {Dismissal.NO_SECOND_RUN: 1}


def test_a_parent_that_names_no_run_is_likely_at_most() -> None:
    deployment = Deployment()
    deployment.parent("parent", tried(1, 0, 100), tried(2, 110, None, "running"))
    deployment.run("first", 2)
    deployment.run("second", 112)
    finding = find(deployment)
    assert finding.sureness is Sureness.LIKELY
    assert "unnamed" in rules_of(finding)


def test_the_extra_link_names_a_run_that_is_there() -> None:
    """It is written before the run is requested."""
    deployment = Deployment()
    deployment.parent("parent", tried(1, 0, 100), tried(2, 110, None, "running"), linked=DagRunKey(CHILD, "second"))
    deployment.run("first", 2)
    assert look(deployment).dismissed == {Dismissal.NO_SECOND_RUN: 1}
    deployment.run("second", 112)
    assert find(deployment).sureness is Sureness.CERTAIN


def test_another_conf_is_likely_at_most(crashed: Deployment) -> None:
    crashed.known = []
    crashed.run("first", 2, conf={"a": 1})
    crashed.run("second", 112, conf={"a": 2})
    finding = find(crashed)
    assert finding.sureness is Sureness.LIKELY
    assert "other_conf" in rules_of(finding)


def test_lineage_tells_where_the_conf_does_not(crashed: Deployment) -> None:
    crashed.known = []
    crashed.run("first", 2, conf={"a": 1, "openlineage": {"parentJobName": "parent.trigger"}})
    crashed.run("second", 112, conf={"a": 2})
    finding = find(crashed)
    assert finding.sureness is Sureness.CERTAIN
    assert "lineage" in rules_of(finding)


def test_a_late_run_is_possible_at_most() -> None:
    deployment = Deployment()
    deployment.parent("parent", tried(1, 0, 1000), tried(2, 1010, 2000, "success"), claimed="second")
    deployment.run("first", LATE, end=3000)
    deployment.run("second", 1011)
    finding = find(deployment)
    assert finding.sureness is Sureness.POSSIBLE
    assert "late" in rules_of(finding)


def test_a_run_that_another_parent_names_is_that_parents(crashed: Deployment) -> None:
    crashed.parent("other", tried(1, 0, 50, "success"), claimed="first")
    report = look(crashed)
    assert (report.findings, report.dismissed, report.unexplained) == ((), {}, 0)


def test_a_run_that_another_parent_may_have_started_is_possible(crashed: Deployment) -> None:
    """The other one ran at that time, triggers the same Dag, and names no run."""
    other = crashed.parent("other", tried(1, 1, 50, "failed"))
    finding = find(crashed)
    assert finding.sureness is Sureness.POSSIBLE
    assert finding.could_also_be == (other,)


def test_a_parent_of_another_dag_is_no_rival(crashed: Deployment) -> None:
    crashed.parent("other", tried(1, 1, 50, "failed"), child_dag_id="another")
    assert find(crashed).sureness is Sureness.CERTAIN


def test_twins_are_likely_and_each_run_is_reported_once() -> None:
    """Two parents crash together, with the same conf: both runs are duplicates, whichever is whose."""
    deployment = Deployment()
    keys = [
        deployment.parent(
            "parent", tried(1, 0, 100), tried(2, 110, 900, "success"), map_index=index, claimed=f"second-{index}"
        )
        for index in range(2)
    ]
    for index in range(2):
        deployment.run(f"first-{index}", 2 + index)
        deployment.run(f"second-{index}", 112 + index)
    findings = look(deployment).findings
    assert [one.sureness for one in findings] == [Sureness.LIKELY, Sureness.LIKELY]
    assert {one.run.key.run_id for one in findings} == {"first-0", "first-1"}
    assert {one.parent for one in findings} == set(keys)


def test_the_conf_tells_twins_apart() -> None:
    deployment = Deployment()
    for index in range(2):
        deployment.parent(
            "parent", tried(1, 0, 100), tried(2, 110, 900, "success"), map_index=index, claimed=f"second-{index}"
        )
        deployment.run(f"first-{index}", 3 - index, conf={"part": index})
        deployment.run(f"second-{index}", 112, conf={"part": index})
    findings = look(deployment).findings
    assert {(one.parent.map_index, one.run.key.run_id) for one in findings} == {(0, "first-0"), (1, "first-1")}
    assert {one.sureness for one in findings} == {Sureness.CERTAIN}


def test_two_runs_in_one_try_are_contested(crashed: Deployment) -> None:
    """One of them is somebody else's: the nearer one is taken, and no more than possible."""
    crashed.run("stray", 50)
    finding = find(crashed)
    assert (finding.run.key.run_id, finding.sureness) == ("first", Sureness.POSSIBLE)
    assert look(crashed).unexplained == 1


def test_a_durable_parent_has_no_duplicates(crashed: Deployment) -> None:
    (key,) = crashed.left
    crashed.left[key] = type(crashed.left[key])(claimed="second", child_dag_id=CHILD, recorded=frozenset())
    report = look(crashed)
    assert (report.findings, report.parents, report.durable_parents) == ((), 1, 1)


@pytest.mark.parametrize("tries", [1, 2])
@pytest.mark.parametrize("has_ledger", [True, False])
def test_a_task_with_many_children_may_have_started_no_stock_run(
    crashed: Deployment, tries: int, *, has_ledger: bool
) -> None:
    """It is durable: by its ledger or, on Airflow 3.0 to 3.2, by its operator."""
    key = crashed.parent(
        "many",
        *[tried(1, 1, 100), tried(2, 110, 900, "success")][:tries],
        recorded=frozenset() if has_ledger else None,
    )
    crashed.described = {} if has_ledger else {key.task: TriggerTask(key.task, MANY_NAME, MANY_MODULE)}
    assert find(crashed).sureness is Sureness.CERTAIN
    assert look(crashed).durable_parents == tries - 1


def test_a_task_that_had_one_child_before_its_dag_was_edited_is_no_durable_one(crashed: Deployment) -> None:
    (key,) = crashed.left
    crashed.described = {key.task: TriggerTask(key.task, MANY_NAME, MANY_MODULE)}
    assert find(crashed).sureness is Sureness.CERTAIN


def test_what_a_durable_parent_recorded_is_its_own(crashed: Deployment) -> None:
    crashed.parent("durable", tried(1, 0, 100), tried(2, 110, 900), recorded=frozenset({DagRunKey(CHILD, "first")}))
    assert look(crashed).findings == ()


@pytest.mark.parametrize(
    "run_id",
    [
        "manual__durable_018f0000000070008000000000000000_0",
        "manual__durable_6a7b28a18fa53e489b3e3fe3_12",
        "manual__2026-11-26T03:00:00+00:00_k3v6xq2m4wfa",
        "manual__2026-11-26T03:00:00.123456+00:00_k3v6xq2m4wfa_e3_c2_r1",
    ],
)
def test_a_run_under_a_durable_id_is_no_stock_parents(crashed: Deployment, run_id: str) -> None:
    """Also where there is no journal to tell (3.0 to 3.2), or none any more."""
    assert is_durable_run_id(run_id)
    crashed.known = []
    crashed.run(run_id, 2)
    crashed.run("second", 112)
    assert look(crashed).findings == ()


def test_stock_run_ids_are_not_durable() -> None:
    assert not is_durable_run_id("manual__2026-01-01T00:00:00+00:00")
    assert not is_durable_run_id("manual__2026-01-01T00:00:00+00:00_AbCdEfGh")


@pytest.mark.parametrize("date", ["2026-01-01", "2026-01-01T00:00:00", "2026-01-01T00:00:00+02:00", "tomorrow"])
def test_a_persons_own_run_id_is_not_durable(date: str) -> None:
    """With words of twelve letters at its end."""
    run_id = f"manual__{date}_backfillplan"
    assert not is_durable_run_id(run_id)
    assert date_in(run_id) is None


def test_other_dags_are_left_out_but_asked(crashed: Deployment) -> None:
    crashed.parent("other", tried(1, 0, 50, "success"), claimed="first")
    assert look(crashed, dag_ids=["parent"]).findings == ()
    assert look(crashed, dag_ids=["other"]).parents == 0


def test_since_leaves_out_what_began_before(crashed: Deployment) -> None:
    assert len(look(crashed, since=at(1)).findings) == 1
    assert look(crashed, since=at(3)).findings == ()
    assert look(crashed, since=at(200)).parents == 0


def test_a_child_dag_is_known_by_the_parents_of_the_same_task(crashed: Deployment) -> None:
    deployment = crashed
    (known,) = deployment.left
    deployment.parent("parent", tried(1, 0, 100), tried(2, 110, 900), map_index=7, child_dag_id=None)
    assert look(deployment).unresolved == 0
    deployment.left[known] = type(deployment.left[known])(claimed="second")
    assert look(deployment).unresolved == 2


def test_a_claim_without_a_dag_counts_in_any(crashed: Deployment) -> None:
    crashed.parent("other", tried(1, 0, 50, "success"), claimed="first", child_dag_id=None)
    assert look(crashed).findings == ()


def test_when_a_run_began() -> None:
    """On the attempt's clock where that is confirmed, else on the server's."""
    soon, later = NOON + timedelta(seconds=1), NOON + timedelta(days=1)
    assert began(NOON, soon, later) == NOON
    assert began(NOON, later, soon) == soon
    assert began(None, later, soon) == soon
    assert began(None, soon, None) == soon
    assert began(soon, NOON, None) == NOON
    assert began(None, None, None) is None


def test_attempts_are_ordered_and_each_counts_once() -> None:
    """One that is only queued has the start of the one before it; the history comes first."""
    history, latest, queued = tried(1, 0, 100), tried(1, 0, None, "up_for_retry"), tried(2, 0, None, "queued")
    assert order([history, latest, queued]) == (history,)
    assert order([tried(2, 110, 200), history]) == (history, tried(2, 110, 200))


def test_digests_tell_confs_apart_and_leave_lineage_out() -> None:
    assert digest_conf({"a": 1, "b": 2})[0] == digest_conf({"b": 2, "a": 1})[0]
    assert digest_conf({"a": 1})[0] != digest_conf({"a": 2})[0]
    assert digest_conf(None)[0] == digest_conf({})[0]
    lineage = {"openlineage": {"parentJobName": "dag.task", "parentRunId": "x"}}
    assert digest_conf({"a": 1, **lineage}) == (digest_conf({"a": 1})[0], "dag.task")
    assert digest_conf({"openlineage": "nonsense"}) == (digest_conf({})[0], None)


@st.composite
def deployments(draw: st.DrawFn) -> Deployment:
    """Make any deployment of a few parents and runs, true to Airflow or not."""
    deployment = Deployment()
    moments = st.integers(0, 60)
    run_ids = [f"run-{number}" for number in range(draw(st.integers(0, 8)))]
    for number in range(draw(st.integers(1, 4))):
        marks = sorted(draw(st.sets(moments, min_size=2, max_size=8)))
        attempts = [
            tried(
                try_number,
                start,
                end,
                draw(st.sampled_from(["failed", "success", "running", None])),
                draw(st.integers(1, 2)),
            )
            for try_number, (start, end) in enumerate(zip(marks[::2], marks[1::2], strict=False), start=1)
        ]
        deployment.parent(
            f"parent-{number}",
            *attempts,
            claimed=draw(st.sampled_from([None, *run_ids])),
            child_dag_id=draw(st.sampled_from([None, CHILD, "other"])),
            waits=draw(st.sampled_from([None, True, False])),
        )
    for run_id in run_ids:
        began_at = draw(moments)
        end = draw(st.sampled_from([None, began_at + 5]))
        state = draw(st.sampled_from(["success", "failed"])) if end else "running"
        deployment.run(run_id, began_at, state=state, end=end, conf=draw(st.sampled_from([None, {"a": 1}])))
    return deployment


@given(deployments())
def test_no_finding_is_against_the_evidence(deployment: Deployment) -> None:
    """
    Whatever is there: what is reported began within an attempt that failed, is claimed by nobody, and only once.

    (A parent that was not retried and did not run when a run began is not asked: its own run began in its attempt.)
    """
    findings = look(deployment).findings
    for finding in findings:
        claimed = {
            trace.claimed
            for instance, trace in zip(deployment.instances, deployment.left.values(), strict=True)
            if trace.child_dag_id in {None, CHILD}
            and (len(instance.attempts) > 1 or any(one.contains(finding.run.began) for one in instance.attempts))
        }
        assert finding.attempt.contains(finding.run.began)
        assert finding.attempt.state != "success"
        assert finding.later_try > finding.attempt.try_number
        assert finding.run.key.run_id not in claimed
        assert finding.later != finding.run.key
    runs = [finding.run.key for finding in findings]
    assert len(runs) == len(set(runs))
    attempts = [(finding.parent, finding.attempt.try_number) for finding in findings]
    assert len(attempts) == len(set(attempts))


@given(deployments(), st.integers(61, 1000))
def test_a_run_outside_all_attempts_is_never_reported(deployment: Deployment, began_at: int) -> None:
    """And it changes nothing."""
    before = look(deployment)
    deployment.run("stray", began_at)
    assert look(deployment) == before
