"""The waiting benchmark: a real triggerer, a real PostgreSQL, waits by the thousand, and children that end."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import sqlalchemy as sa

from airflow_durable.demo import settings
from airflow_durable.demo.engine import ScratchAirflow
from bench import lay
from tests.support.servers import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator

ASSIGN_LIMIT_SECONDS = 600.0
START_LIMIT_SECONDS = 300.0
RESUME_LIMIT_SECONDS = 300.0
WARM_UP_WAITS = 10
SCHEDULER_SECONDS = 1.0
"""From the end of a child's last task to the end of its run."""
SERVER_PARAMETERS = {
    "shared_preload_libraries": "pg_stat_statements",
    # As on a server whose machine may fail.
    "fsync": "on",
    "full_page_writes": "on",
}


_FINISH_TASKS = "UPDATE task_instance SET state = 'success' WHERE dag_id = :dag_id AND run_id = :run_id"
_END_RUN = (
    "WITH ended AS (UPDATE dag_run SET state = 'success', end_date = clock_timestamp() "
    "WHERE dag_id = :dag_id AND run_id = :run_id RETURNING 1) "
    "INSERT INTO bench_ended SELECT :parent, clock_timestamp() FROM ended"
)
_END_IN_OUTAGE = (
    (
        "UPDATE task_instance SET state = CASE WHEN task_id = 'load' AND {is_failed} THEN 'failed' ELSE 'success' END "
        "WHERE dag_id LIKE '{child}%%'"
    ),
    (
        "UPDATE dag_run SET state = CASE WHEN {is_failed} THEN 'failed' ELSE 'success' END, "
        "end_date = clock_timestamp() WHERE dag_id LIKE '{child}%%'"
    ),
)
_IS_FAILED = "('x' || substr(md5(run_id), 1, 4))::bit(16)::int %% 5 < 2"
"""Two of five children fail, those that a hash of the run id says."""


@dataclass(frozen=True)
class Plan:
    """
    One run of the benchmark.

    :param kind: ``stock`` or ``durable``.
    :param triggerers: how many triggerers share the waits.
    :param child_tasks: how many tasks a child has: ``few``, ``many`` (a mapped one among them) or ``none``.
    :param outage_seconds: the table of the Dag runs is locked for so long. Meanwhile all children end, two of five of
        them in failure.
    :param ends_a_minute: how many children end in a minute, at random moments.
    """

    kind: str
    waits: int
    child_dags: int = 1
    triggerers: int = 1
    child_tasks: str = "few"
    outage_seconds: float = 0.0
    poll_interval: float = 5.0
    ends_a_minute: int = 100
    warm_up_seconds: float = 15.0
    settle_seconds: float = 10.0
    idle_seconds: float = 20.0
    window_seconds: float = 60.0


@dataclass(frozen=True)
class Outcome:
    """
    What was measured. Rates are a second's, latencies are seconds, memory is in bytes.

    ``fewest`` is the number of waits on the triggerer that has the fewest. ``asked_for_each`` is the number of look-ups
    from the end of an outage until all parents have resumed, for each of them.
    """

    plan: Plan
    assigned_seconds: float
    running: int
    fewest: int
    idle_look_ups: float
    idle_transactions: float
    look_ups: float
    transactions: float
    cpu: float
    ended: int
    resumed: int
    p50: float | None
    p99: float | None
    longest: float | None
    noticed_p50: float | None
    noticed_p99: float | None
    memory_a_wait: float
    memory_base: float
    asked_for_each: float | None = None


@dataclass(frozen=True)
class Reading:
    """The server's counters at a moment."""

    at: float
    look_ups: int
    transactions: int
    cpu_seconds: float


class Bench:
    """One scratch Airflow: its database, its triggerer, and its counters."""

    def __init__(self, airflow: ScratchAirflow, database_url: str, plan: Plan) -> None:
        self._airflow = airflow
        self._plan = plan
        # From another database: what is counted there does not count this reader.
        self._admin = sa.create_engine(sa.make_url(database_url).set(database="postgres"), isolation_level="AUTOCOMMIT")
        self._engine = sa.create_engine(database_url)

    def prepare(self) -> None:
        """Make the database, the Dags and the table that notes the resumptions."""
        self._airflow.migrate()
        self._run("-m", "airflow", "dags", "reserialize")
        with self._admin.connect() as connection:
            connection.exec_driver_sql("CREATE EXTENSION pg_stat_statements")
        with self._engine.begin() as connection:
            for statement in (
                "CREATE TABLE bench_resumed (run_id text, at timestamptz)",
                "CREATE TABLE bench_ended (run_id text, at timestamptz)",
                """CREATE FUNCTION bench_note() RETURNS trigger LANGUAGE plpgsql AS $$
                   BEGIN INSERT INTO bench_resumed VALUES (NEW.run_id, clock_timestamp()); RETURN NULL; END $$""",
                """CREATE TRIGGER bench_note AFTER UPDATE ON task_instance FOR EACH ROW
                   WHEN (OLD.state = 'deferred' AND NEW.state = 'scheduled') EXECUTE FUNCTION bench_note()""",
            ):
                connection.exec_driver_sql(statement)

    def _lay(self, first: int, count: int) -> None:
        plan = self._plan
        arguments = {
            "kind": plan.kind,
            "first": first,
            "count": count,
            "child_dags": plan.child_dags,
            "child_tasks": plan.child_tasks,
            "poll_interval": plan.poll_interval,
        }
        self._run("-m", "bench.lay", json.dumps(arguments))
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ANALYZE")

    def run(self) -> Outcome:
        """Start the triggerer and measure."""
        plan = self._plan
        for _ in range(plan.triggerers):
            self._airflow.start_component("triggerer")
        self._airflow.wait_until_ready()
        # What a first wait makes the triggerer load is not what a wait takes.
        self._lay(0, WARM_UP_WAITS)
        self._wait_until_assigned()
        time.sleep(plan.warm_up_seconds)
        memory_base = self._memory()
        self._lay(WARM_UP_WAITS, plan.waits - WARM_UP_WAITS)
        laid_at = time.monotonic()
        self._wait_until_assigned()
        running = self._wait_until_running()
        assigned_seconds = time.monotonic() - laid_at
        fewest = self._fewest()
        time.sleep(plan.settle_seconds)
        before = self._read()
        time.sleep(plan.idle_seconds)
        middle = self._read()
        if plan.outage_seconds:
            self._end_in_outage()
            middle = self._read()
        else:
            self._end_children()
        latencies = self._latencies() if plan.outage_seconds else []
        after = self._read()
        self._write_statements()
        memory = self._memory()
        latencies = latencies or self._latencies()
        noticed = self._noticed()
        ended = self._scalar("SELECT count(*) FROM bench_ended")
        return Outcome(
            plan=plan,
            assigned_seconds=assigned_seconds,
            running=running,
            fewest=fewest,
            idle_look_ups=_rate(before, middle, "look_ups"),
            idle_transactions=_rate(before, middle, "transactions"),
            look_ups=_rate(middle, after, "look_ups"),
            transactions=_rate(middle, after, "transactions"),
            cpu=_rate(middle, after, "cpu_seconds"),
            ended=ended,
            resumed=len(latencies),
            p50=_quantile(latencies, 0.5),
            p99=_quantile(latencies, 0.99),
            longest=max(latencies, default=None),
            noticed_p50=_quantile(noticed, 0.5),
            noticed_p99=_quantile(noticed, 0.99),
            memory_a_wait=(memory - memory_base) / (plan.waits - WARM_UP_WAITS),
            memory_base=memory_base,
            asked_for_each=(after.look_ups - middle.look_ups) / ended if plan.outage_seconds else None,
        )

    def _run(self, *arguments: str) -> None:
        environment = settings.build_environment(self._airflow.home, self._airflow.options)
        environment["PYTHONPATH"] = f"{Path(__file__).parents[1]}:{environment.get('PYTHONPATH', '')}"
        subprocess.run([sys.executable, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own

    def _wait_until_assigned(self) -> None:
        deadline = time.monotonic() + ASSIGN_LIMIT_SECONDS
        while self._scalar("SELECT count(*) FROM trigger WHERE triggerer_id IS NULL"):
            if time.monotonic() > deadline:
                message = "The triggerer has not taken all waits."
                raise RuntimeError(message)
            time.sleep(1)

    def _wait_until_running(self) -> int:
        """Wait until the triggerer has begun to log for each wait; return for how many, if it does not get there."""
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while (running := sum(1 for _ in self._airflow.home.glob("logs/**/*.trigger.*.log"))) < self._plan.waits:
            if time.monotonic() > deadline:
                break
            time.sleep(3)
        return running

    def _fewest(self) -> int:
        """Return how many waits the triggerer has that has the fewest."""
        with self._engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT count(*) FROM trigger GROUP BY triggerer_id")
            counts = [int(count) for (count,) in rows]
        if len(counts) < self._plan.triggerers:
            message = f"Of {self._plan.triggerers} triggerers only {len(counts)} have waits."
            raise RuntimeError(message)
        return min(counts)

    def _end_children(self) -> None:
        """End children at random moments, and wait until their parents have resumed."""
        plan = self._plan
        count = max(1, round(plan.ends_a_minute * plan.window_seconds / 60))
        chance = random.Random(plan.waits)  # noqa: S311 - the same moments for both
        moments = sorted(chance.uniform(0, plan.window_seconds) for _ in range(count))
        numbers = chance.sample(range(plan.waits), count)
        ends = list(zip(moments, numbers, strict=True))
        # As the scheduler does: a run ends some time after its last task.
        steps = [(moment - SCHEDULER_SECONDS, number, _FINISH_TASKS) for moment, number in ends]
        steps += [(moment, number, _END_RUN) for moment, number in ends]
        started_at = time.monotonic()
        for moment, number, statement in sorted(steps):
            time.sleep(max(0.0, started_at + moment - time.monotonic()))
            with self._engine.begin() as connection:
                run = {"dag_id": lay.child_dag(number, plan.child_dags), "run_id": lay.child_run(number)}
                if statement == _END_RUN:
                    run["parent"] = f"parent_{number}"
                connection.execute(sa.text(statement), run)
        time.sleep(max(0.0, started_at + plan.window_seconds - time.monotonic()))

    def _end_in_outage(self) -> None:
        """Lock the table of the Dag runs, end all children, and give it back after the outage."""
        with self._engine.begin() as connection:
            connection.exec_driver_sql("LOCK TABLE dag_run IN ACCESS EXCLUSIVE MODE")
            for statement in _END_IN_OUTAGE:
                connection.exec_driver_sql(statement.format(child=lay.CHILD_DAG, is_failed=_IS_FAILED))
            time.sleep(self._plan.outage_seconds)
            connection.execute(
                sa.text(
                    "INSERT INTO bench_ended SELECT 'parent_' || n, clock_timestamp() FROM generate_series(0, :n) n"
                ),
                {"n": self._plan.waits - 1},
            )

    def _latencies(self) -> list[float]:
        deadline = time.monotonic() + RESUME_LIMIT_SECONDS
        while time.monotonic() < deadline:
            if not self._scalar(
                "SELECT count(*) FROM bench_ended e "
                "WHERE NOT EXISTS (SELECT 1 FROM bench_resumed r WHERE r.run_id = e.run_id)"
            ):
                break
            time.sleep(1)
        with self._engine.connect() as connection:
            rows = connection.exec_driver_sql(
                "SELECT extract(epoch FROM r.at - e.at) FROM bench_ended e JOIN bench_resumed r USING (run_id)"
            )
            return [float(row[0]) for row in rows]

    def _noticed(self) -> list[float]:
        """Return how long after each child's end its trigger fired, by the triggerer's own log."""
        with self._engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT run_id, extract(epoch FROM at) FROM bench_ended").all()
        seconds = []
        for run_id, ended_at in rows:
            for path in self._airflow.home.glob(f"logs/dag_id={lay.PARENT_DAG}/run_id={run_id}/**/*.trigger.*.log"):
                lines = [json.loads(line) for line in path.read_text().splitlines()]
                fired = [line["timestamp"] for line in lines if line["event"] == "Trigger fired event"]
                moments = [datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp() for at in fired]
                seconds += [moment - float(ended_at) for moment in moments]
        return seconds

    def _read(self) -> Reading:
        with self._admin.connect() as connection:
            transactions = connection.exec_driver_sql(
                "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'airflow'"
            ).scalar_one()
            look_ups = connection.exec_driver_sql(
                "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid "
                "WHERE d.datname = 'airflow' AND (query LIKE 'SELECT count(*)%%FROM dag_run%%' "
                "OR query LIKE 'SELECT dag_run.state%%' "
                "OR query LIKE 'SELECT task_instance%%WHERE task_instance.dag_id%%')"
            ).scalar_one()
        cpu = sum(sum(process.cpu_times()[:2]) for process in self._processes())
        return Reading(time.monotonic(), int(look_ups), int(transactions), cpu)

    def _write_statements(self) -> None:
        """Write down what the database's time went to, for whoever wants to know."""
        with self._admin.connect() as connection:
            rows = connection.exec_driver_sql(
                "SELECT calls, mean_exec_time, total_exec_time, query FROM pg_stat_statements s "
                "JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = 'airflow' ORDER BY 3 DESC LIMIT 20"
            )
            lines = [f"{row[0]:8} calls {row[1]:10.3f} ms {row[2]:12.0f} ms in all  {row[3][:300]!r}" for row in rows]
        (self._airflow.home / "statements.txt").write_text("\n".join(lines))

    def _memory(self) -> float:
        return float(sum(process.memory_full_info().uss for process in self._processes()))

    def _processes(self) -> Iterator[psutil.Process]:
        for component in self._airflow.components:
            leader = psutil.Process(component.process.pid)
            yield from (leader, *leader.children(recursive=True))

    def _scalar(self, statement: str) -> Any:  # noqa: ANN401 - as SQL has them
        with self._engine.connect() as connection:
            return connection.exec_driver_sql(statement).scalar_one()


def measure(plan: Plan, home: Path) -> Outcome:
    """
    Measure one plan, on a database and a triggerer of its own.

    :param home: an empty folder.
    """
    with PostgresServer(home, SERVER_PARAMETERS) as server:
        options = {
            **server.options,
            "triggerer.capacity": str(max(1000, plan.waits)),
            # Airflow's own defaults, which the scratch Airflow changes.
            "triggerer.job_heartbeat_sec": "5",
            "triggerer.triggerer_health_check_threshold": "30",
        }
        with ScratchAirflow(home, dag_folders={"bench": Path(__file__).parent / "dags"}, options=options) as airflow:
            bench = Bench(airflow, server.url, plan)
            bench.prepare()
            return bench.run()


def _rate(first: Reading, last: Reading, name: str) -> float:
    return float((getattr(last, name) - getattr(first, name)) / (last.at - first.at))


def _quantile(values: list[float], share: float) -> float | None:
    if len(values) < 2:  # noqa: PLR2004 - of one there are no quantiles
        return values[0] if values else None
    return statistics.quantiles(values, n=100, method="inclusive")[round(share * 100) - 1]


if __name__ == "__main__":
    Path(sys.argv[2]).mkdir(parents=True)
    outcome = measure(Plan(**json.loads(sys.argv[1])), Path(sys.argv[2]))
    print(json.dumps(asdict(outcome), indent=1))  # noqa: T201 - its output
