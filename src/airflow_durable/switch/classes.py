"""The classes that the switch gives to tasks: theirs in front, ours behind it."""

from __future__ import annotations

import copyreg
from typing import Any, cast

from airflow_durable.operators.parameters import DEFAULTS
from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator as Ours
from airflow_durable.stock import StockTriggerDagRunOperator
from airflow_durable.switch.verdict import SWITCHED, THEIRS


def durable_class(theirs: type) -> type:
    """
    Return the durable form of the stock operator, or of a subclass of it.

    It has the name and the module of theirs, so that the serialized Dag, the UI, listeners, lineage and ``task_type``
    show what they showed before, and turning the switch on makes no new version of a Dag (read in
    ``serialization/serialized_objects.py``, 3.0 to 3.4: ``task_type`` and ``_task_module`` are the class's
    ``__name__`` and ``__module__``). Its method resolution order is theirs, ours, stock: ``super()`` in theirs reaches
    ours.

    :param theirs: one that :func:`airflow_durable.switch.classify.classify` found to be possible.
    """
    # Classes know their subclasses weakly: a class of a Dag file that is parsed anew can go, and ours with it.
    subclasses: list[type] = type.__subclasses__(_bases(theirs)[0])
    made = next((one for one in subclasses if vars(one).get(THEIRS) is theirs), None)
    return _make(theirs) if made is None else made


def _bases(theirs: type) -> tuple[type, ...]:
    return (Ours,) if theirs is StockTriggerDagRunOperator else (theirs, Ours)


def _make(theirs: type) -> type:
    def initialize(self: Any, **kwargs: Any) -> None:  # noqa: ANN401 - an operator's own
        """Do as theirs: a mapped task is made of its class when it runs."""
        super(made, self).__init__(**kwargs)
        make_durable(self, durable=kwargs.get("durable"))

    def reduce(self: Any, _: Any) -> Any:  # noqa: ANN401 - pickle's own protocol
        """Name their class, which has the name that pickle would look ours up by."""
        return _new, (theirs,), self.__getstate__()

    made: Any = type(theirs)(
        theirs.__name__,
        _bases(theirs),
        {
            "__doc__": theirs.__doc__,
            "__init__": initialize,
            "__module__": theirs.__module__,
            "__qualname__": theirs.__qualname__,
            "__reduce_ex__": reduce,
            "is_switched": True,
            SWITCHED: True,
            THEIRS: theirs,
        },
    )
    return cast("type", made)


def make_durable(task: Any, *, durable: bool | None = None) -> None:  # noqa: ANN401 - an operator
    """
    Give a task what the parameters of the durable operator would have given it.

    :param durable: what a policy of the deployment wants; None: nothing.
    """
    # Not by setattr, which an operator has of its own.
    vars(task).update(DEFAULTS, durable=durable is not False)


def _new(theirs: type) -> Any:  # noqa: ANN401 - an operator
    made: Any = durable_class(theirs)
    return made.__new__(made)


def _reduce_class(operator_class: type) -> Any:  # noqa: ANN401 - pickle's own protocol
    """Let pickle name the class that ours stands for: a mapped task holds its class. All others go by their name."""
    theirs = vars(operator_class).get(THEIRS)
    return operator_class.__qualname__ if theirs is None else (durable_class, (theirs,))


# pickle would look ours up by its name, which is theirs. Some pickle a whole Dag: PythonVirtualenvOperator does for a
# function that takes it (standard provider, ``operators/python.py``, ``AIRFLOW_SERIALIZABLE_CONTEXT_KEYS``).
copyreg.pickle(type(StockTriggerDagRunOperator), _reduce_class)
