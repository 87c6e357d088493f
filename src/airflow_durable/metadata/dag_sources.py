"""
What the text of a Dag file says of a task, where the serialized Dag does not. Pure; nothing is executed.

Only what is certain counts: a call with the task's id as a text, whose argument is a literal, or is not given while
nothing else in the file could give it.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def read_flag(source: str, task_id: str, name: str, default: bool) -> bool | None:  # noqa: FBT001 - a value
    """
    Return an argument of the call that makes a task.

    :param task_id: with the task groups that it is in.
    :param name: of a parameter that takes True or False.
    :param default: what counts if it is not given.
    :returns: None: the text does not say.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    calls = list(_calls_for(tree, task_id.rpartition(".")[2]))
    if len(calls) != 1:
        return None
    for keyword in calls[0].keywords:
        if keyword.arg == name:
            value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
            return value if isinstance(value, bool) else None
    return None if _may_be_given_elsewhere(tree, calls[0], name) else default


def _calls_for(tree: ast.AST, task_id: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg == "task_id" and isinstance(keyword.value, ast.Constant):
                    if keyword.value.value == task_id:
                        yield node
                    break


def _may_be_given_elsewhere(tree: ast.AST, call: ast.Call, name: str) -> bool:
    """Return whether ``**arguments`` or ``default_args`` may have it: those that this file spells out have not."""
    if any(keyword.arg is None for keyword in call.keywords):
        return True
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value == name:
            return True
        value = node.value if isinstance(node, ast.keyword) and node.arg == "default_args" else None
        if value is not None and not isinstance(value, (ast.Dict, ast.Name)):
            return True
        # default_args={**shared, ...}
        if isinstance(node, ast.Dict) and any(key is None for key in node.keys):
            return True
    return _imports_defaults(tree)


def _imports_defaults(tree: ast.AST) -> bool:
    """Return whether the ``default_args`` of this file are a name that was imported."""
    names = {
        node.value.id
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "default_args" and isinstance(node.value, ast.Name)
    }
    made = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return not names <= made
