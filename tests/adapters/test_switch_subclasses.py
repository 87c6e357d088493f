"""Subclasses of the stock operator: what runs of them when they are durable, and which are left alone, and why."""

from __future__ import annotations

import functools
from typing import Any

import airflow.providers.standard.operators.trigger_dagrun as stock_module
import pytest
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator as Renamed
from airflow.sdk import DAG

from airflow_durable.operators.parameters import DEFAULTS, OWN
from airflow_durable.switch.apply import apply_switch
from airflow_durable.switch.classify import classify
from airflow_durable.switch.settings import Mode, Switch
from airflow_durable.switch.verdict import Kind

from .dags import DEFER, WAIT, finish, killed_while_waiting, make_dag
from .supervisor import Supervisor  # noqa: TC001 - pytest reads it

ON = Switch(mode=Mode.DURABLE)
CALLED: list[str] = []


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    CALLED.clear()


# Those that can be.


class Plain(TriggerDagRunOperator):
    """Changes nothing."""


class Prepared(TriggerDagRunOperator):
    """Changes its attributes before ``super().execute()``."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Execute."""
        self.conf = {"by": "theirs"}
        CALLED.append("execute")
        return super().execute(context)


class OldStyle(TriggerDagRunOperator):
    """Names itself in ``super``."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Execute."""
        return super(OldStyle, self).execute(context)  # noqa: UP008 - that is what it is for


class Mixin:
    """Stands before the stock operator, and knows nothing of it."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Execute."""
        CALLED.append("mixin")
        return super().execute(context)  # type: ignore[misc]


class Mixed(Mixin, TriggerDagRunOperator):
    """Has a mixin."""


class Deep(Prepared):
    """A subclass of a subclass, with a helper that calls ``super()``."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Execute."""
        return self.help(context)

    def help(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Call."""
        return super().execute(context)


class Completing(TriggerDagRunOperator):
    """Does something after a deferral."""

    def execute_complete(self, context: Any, event: Any) -> None:  # noqa: ANN401 - Airflow's
        """Complete."""
        super().execute_complete(context, event)
        CALLED.append("complete")


def decorated(method: Any) -> Any:  # noqa: ANN401 - a function
    """Decorate, as people do."""

    @functools.wraps(method)
    def wrapper(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - anything
        CALLED.append("decorator")
        return method(*args, **kwargs)

    return wrapper


class Decorated(TriggerDagRunOperator):
    """Has a decorated ``execute``."""

    @decorated
    def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Execute."""
        return super().execute(context)


class TriggerOther(TriggerDagRunOperator):
    """Has other attributes, and a default of its own."""

    def __init__(self, *, customer: str = "none", **kwargs: Any) -> None:  # noqa: ANN401 - theirs
        super().__init__(**kwargs)
        self.customer = customer

    @property
    def described(self) -> str:
        """Return what it is."""
        return f"for {self.customer}"


POSSIBLE = [Plain, Prepared, OldStyle, Mixed, Deep, Completing, Decorated, TriggerOther]


@pytest.mark.parametrize("operator", POSSIBLE)
@pytest.mark.parametrize("mode", [WAIT, DEFER], ids=["wait", "defer"])
def test_it_is_durable(supervisor: Supervisor, operator: type[TriggerDagRunOperator], mode: dict[str, Any]) -> None:
    dag = make_dag(operator, **mode)
    (task,) = dag.tasks
    assert classify(task, ON).kind is Kind.SUBCLASS
    apply_switch(dag, ON)
    assert classify(task, ON).kind is Kind.SWITCHED
    killed_while_waiting(supervisor, dag)
    assert finish(supervisor, dag, try_number=2).state == "success"
    assert supervisor.states() == ["success"]


@pytest.mark.parametrize(
    ("operator", "called"),
    [
        (Prepared, ["execute"]),
        (Mixed, ["mixin"]),
        (Deep, ["execute"]),
        (Completing, ["complete"]),
        (Decorated, ["decorator"]),
    ],
)
def test_theirs_runs(supervisor: Supervisor, operator: type[TriggerDagRunOperator], called: list[str]) -> None:
    dag = make_dag(operator, **DEFER)
    apply_switch(dag, ON)
    assert finish(supervisor, dag).state == "success"
    assert called == CALLED


def test_what_theirs_changes_is_sent(supervisor: Supervisor) -> None:
    dag = make_dag(Prepared, **WAIT)
    apply_switch(dag, ON)
    finish(supervisor, dag)
    assert supervisor.only_run().conf == {"by": "theirs"}


# Those that cannot.


class ByName(TriggerDagRunOperator):
    """Calls the stock class by name."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Execute."""
        return TriggerDagRunOperator.execute(self, context)


class ByOtherName(TriggerDagRunOperator):
    """Calls it by another name."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Execute."""
        return Renamed.execute(self, context)


class ByModule(TriggerDagRunOperator):
    """Calls it by way of its module, in a function of its own."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Execute."""
        return [stock_module.TriggerDagRunOperator.execute(self, each) for each in [context]]


class PastUs(TriggerDagRunOperator):
    """Reaches past the durable operator."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Execute."""
        return super(TriggerDagRunOperator, self).execute(context)


def by_closure() -> type[TriggerDagRunOperator]:
    """Return a class that calls the stock one by a name of the function around it."""
    base = TriggerDagRunOperator

    class ByClosure(base):  # type: ignore[misc, valid-type]
        def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
            return base.execute(self, context)

    return ByClosure


class OwnWay(TriggerDagRunOperator):
    """Triggers in a way of its own."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Execute."""


class OwnEnd(TriggerDagRunOperator):
    """Judges the event itself."""

    def execute_complete(self, context: Any, event: Any) -> None:  # noqa: ANN401 - Airflow's
        """Complete."""


class CatchesRequest(TriggerDagRunOperator):
    """Changes the request that the stock operator raises."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Execute."""
        from airflow_durable.compat import DagRunTriggerException

        try:
            return super().execute(context)
        except DagRunTriggerException as request:
            request.conf = {}
            raise


class Internal(TriggerDagRunOperator):
    """Overrides what is internal to the stock operator."""

    def _trigger_dag_af_3(self, context: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Trigger."""


class Clashing(TriggerDagRunOperator):
    """Uses a name that is ours."""

    def _execution(self) -> str:
        return "theirs"


class ClashingAttribute(TriggerDagRunOperator):
    """Uses a name that is ours, for an attribute."""

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - theirs
        super().__init__(**kwargs)
        self._execution = "theirs"


class WithResult(TriggerDagRunOperator):
    """Keeps something under the name of one of our parameters."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Execute."""
        self.result = super().execute(context)


class TakesResult(TriggerDagRunOperator):
    """Takes a parameter with the name of one of ours."""

    def __init__(self, *, result: str, **kwargs: Any) -> None:  # noqa: ANN401 - an operator's own
        super().__init__(**kwargs)
        vars(self)["result"] = result


class Deferring(TriggerDagRunOperator):
    """Defers in a way of its own."""

    def defer(self, **kwargs: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Defer."""


class Slotted(TriggerDagRunOperator):
    """Uses slots."""

    __slots__ = ("customer",)


class Registered(TriggerDagRunOperator):
    """Wants to know its subclasses."""

    def __init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401 - theirs
        """Register."""
        CALLED.append(cls.__name__)


class Meta(type(TriggerDagRunOperator)):  # type: ignore[misc]
    """A metaclass of their own."""


class WithMeta(TriggerDagRunOperator, metaclass=Meta):
    """Has it."""


class Computed(TriggerDagRunOperator):
    """Computes a parameter."""

    @property
    def poke_interval(self) -> int:
        """Return it."""
        return 7

    @poke_interval.setter
    def poke_interval(self, value: int) -> None:
        pass


class Asynchronous(TriggerDagRunOperator):
    """Has an ``execute`` that is none."""

    async def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Execute."""
        return super().execute(context)


class NotAFunction(TriggerDagRunOperator):
    """Has an ``execute`` that nobody can read."""

    execute = functools.partialmethod(print)


@pytest.mark.parametrize(
    ("operator", "reason"),
    [
        (ByName, "ByName.execute names the stock class, where it would have to use super()"),
        (ByOtherName, "ByOtherName.execute names the stock class, where it would have to use super()"),
        (ByModule, "ByModule.execute names the stock class, where it would have to use super()"),
        (PastUs, "PastUs.execute names the stock class, where it would have to use super()"),
        (by_closure(), "ByClosure.execute names the stock class, where it would have to use super()"),
        (OwnWay, "OwnWay.execute does not call super().execute()"),
        (OwnEnd, "OwnEnd.execute_complete does not call super().execute_complete()"),
        (CatchesRequest, "CatchesRequest.execute uses DagRunTriggerException, which a durable task does not raise"),
        (Internal, "Internal defines _trigger_dag_af_3, which is internal to the stock operator"),
        (Clashing, "Clashing defines _execution, a name that the durable operator uses"),
        (ClashingAttribute, "it has an attribute '_execution', a name that the durable operator uses"),
        (WithResult, "WithResult.execute sets an attribute 'result', a name that the durable operator uses"),
        (Deferring, "Deferring defines defer, which the durable operator relies on"),
        (Slotted, "Slotted uses __slots__"),
        (Registered, "Registered defines __init_subclass__, which the durable operator relies on"),
        (WithMeta, "its class has a metaclass of its own, Meta"),
        (Computed, "Computed defines the parameter poke_interval as a property"),
        (Asynchronous, "Asynchronous.execute is not a plain method"),
        (NotAFunction, "NotAFunction.execute is not a plain method"),
    ],
)
def test_it_is_left_alone(operator: type[TriggerDagRunOperator], reason: str) -> None:
    dag = make_dag(operator, **WAIT)
    (task,) = dag.tasks
    verdict = classify(task, ON)
    assert (verdict.kind, verdict.reason) == (Kind.NOT_POSSIBLE, reason)
    apply_switch(dag, ON)
    assert type(task) is operator
    assert CALLED == []


def test_a_parameter_with_the_name_of_one_of_ours_stays_theirs() -> None:
    (plain,) = make_dag(TakesResult, result="theirs", **WAIT).tasks
    assert classify(plain, ON).reason == "it has an attribute 'result', a name that the durable operator uses"
    with DAG("parent", schedule=None) as dag:
        TakesResult.partial(task_id="one", trigger_dag_id="child", result="theirs").expand(conf=[{}])
        TakesResult.partial(task_id="other", trigger_dag_id="child").expand(result=["theirs"])
    for task in dag.tasks:
        assert classify(task, ON).reason == "it is given 'result', a name that the durable operator uses"


def test_a_task_that_is_made_durable_has_the_defaults_of_all_our_parameters() -> None:
    dag = make_dag(TriggerDagRunOperator, **WAIT)
    apply_switch(dag, ON)
    (task,) = dag.tasks
    assert {name: getattr(task, name) for name in OWN} == {**DEFAULTS, "durable": True}


def test_a_class_behind_it_that_cannot_be_is_named() -> None:
    below = type("Below", (Clashing,), {"__module__": __name__})
    (task,) = make_dag(below, **WAIT).tasks
    assert classify(task, ON).reason == "Clashing defines _execution, a name that the durable operator uses"


def test_an_override_of_the_object_is_left_alone() -> None:
    """As some decorators and mocks do."""
    dag = make_dag(Plain, **WAIT)
    (task,) = dag.tasks
    vars(task)["execute"] = print
    assert classify(task, ON).reason == "it has an attribute 'execute', a name that the durable operator uses"


def test_a_class_of_which_none_can_be_made_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the reason: Python says it when the class is made."""

    def refuse(_: type) -> type:
        message = "no"
        raise TypeError(message)

    monkeypatch.setattr("airflow_durable.switch.classify.durable_class", refuse)
    (task,) = make_dag(Plain, **WAIT).tasks
    assert classify(task, ON).reason == "no class can be made of its class and the durable one (TypeError)"


def test_a_switched_class_goes_with_theirs() -> None:
    """A Dag file that is parsed again and again leaves no classes behind."""
    import gc
    import weakref

    def parse() -> weakref.ref[type]:
        theirs = type("Passing", (TriggerDagRunOperator,), {"__module__": __name__})
        dag = make_dag(theirs, **WAIT)
        apply_switch(dag, ON)
        assert type(dag.tasks[0]) is not theirs
        return weakref.ref(type(dag.tasks[0]))

    made = parse()
    gc.collect()
    assert made() is None
