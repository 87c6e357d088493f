"""Subclasses as users write them. Each is mixed in before the operator's class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_durable.compat import DagRunTriggerException

if TYPE_CHECKING:
    from collections.abc import Callable

    class Base:
        """What the classes they are mixed in before have."""

        conf: Any
        trigger_run_id: Any

        def execute(self, context: Any) -> Any: ...  # noqa: ANN401, D102 - the operator's
        def execute_complete(self, context: Any, event: Any) -> Any: ...  # noqa: ANN401, D102 - the operator's
        def pre_execute(self, context: Any) -> Any: ...  # noqa: ANN401, D102 - the operator's
        def post_execute(self, context: Any, result: Any = None) -> Any: ...  # noqa: ANN401, D102 - the operator's

else:
    Base = object


def derived(mixin: type) -> Callable[[type], type]:
    """Return what makes the subclass of an operator's class."""
    return lambda operator: type("TheirOperator", (mixin, operator), {})


def complete(operator: Any, event: Any) -> Any:  # noqa: ANN401 - an operator of either class
    """Resume, and return what listeners read besides."""
    returned = operator.execute_complete(context={}, event=event)
    return (returned, operator.trigger_run_id)


class BeforeExecute(Base):
    """Computes its conf when it runs."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - as the operator's
        """Trigger the child."""
        self.conf = {"computed": True}
        return super().execute(context)


class AfterExecute(Base):
    """Has something to do after its child, which the stock operator never comes to."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - as the operator's
        """Trigger the child."""
        super().execute(context)
        context["ti"].xcom_push(key="after", value="done")


class AroundExecute(Base):
    """Cleans up."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - as the operator's
        """Trigger the child."""
        try:
            return super().execute(context)
        finally:
            context["ti"].xcom_push(key="finally", value="done")


class CatchingEverything(Base):
    """Lets nothing fail it. The stock operator hands over its request as an error."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - as the operator's
        """Trigger the child."""
        try:
            return super().execute(context)
        except Exception as error:  # noqa: BLE001 - as users do
            context["ti"].xcom_push(key="caught", value=isinstance(error, DagRunTriggerException))
            return None


class CatchingTheRequest(Base):
    """Starts the run itself, say by another way."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - as the operator's
        """Trigger the child."""
        try:
            super().execute(context)
        except DagRunTriggerException as request:
            request.conf = {**(request.conf or {}), "added": True}
            raise


class ExecuteReturns(Base):
    """Returns a value, which the stock operator never comes to."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - as the operator's
        """Trigger the child."""
        super().execute(context)
        return "a value"


class TwoCalls(Base):
    """Triggers two runs, of which the stock operator comes to the first."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - as the operator's
        """Trigger the child."""
        for number in range(2):
            self.conf = {"call": number}
            super().execute(context)


class CompleteReturns(Base):
    """Returns a value after its deferral."""

    def execute_complete(self, context: Any, event: Any) -> Any:  # noqa: ANN401 - as the operator's
        """Go on after the deferral."""
        super().execute_complete(context, event)
        return "a value"


class CompleteFails(Base):
    """Does something with the child's result, which fails."""

    def execute_complete(self, context: Any, event: Any) -> Any:  # noqa: ANN401 - as the operator's
        """Go on after the deferral."""
        super().execute_complete(context, event)
        message = "what was to be done with the child's result failed"
        raise ValueError(message)


class WithHooks(Base):
    """Overrides the hooks around its execution."""

    def pre_execute(self, context: Any) -> None:  # noqa: ANN401 - Airflow's
        """Tell what there is before."""
        context["ti"].xcom_push(key="pre", value=self.trigger_run_id)

    def post_execute(self, context: Any, result: Any = None) -> None:  # noqa: ANN401 - Airflow's
        """Tell what came of it."""
        context["ti"].xcom_push(key="post", value=result)


def with_plain_states(operator: Any) -> Any:  # noqa: ANN401 - an operator's class
    """
    Return a subclass that sets its states as plain texts after its base has made them enums.

    A class of its own: Airflow's metaclass wraps the ``__init__`` of an operator, not that of a mixin.
    """

    class TheirOperator(operator):  # type: ignore[misc] # a class of either module
        def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - the operator's own
            super().__init__(**kwargs)
            self.allowed_states = ["success"]
            self.failed_states = ["failed"]

    return TheirOperator
