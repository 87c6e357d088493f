"""The base of all errors."""

from __future__ import annotations


class DurableError(Exception):
    """
    The base of all errors of the protocol.

    :param text: what happened, to which run.
    :param if_retried: what the next try will do; empty: nothing worth saying.
    :param if_final: what a person can do if there is no next try; empty: nothing more than the text says.
    :cvar is_terminal: True: another try can change nothing, so the task fails without one.
    """

    is_terminal = False

    def __init__(self, text: str, *, if_retried: str = "", if_final: str = "") -> None:
        super().__init__(text)
        self._if_retried = if_retried
        self._if_final = if_final

    def explain(self, *, has_next_try: bool) -> str:
        """Return the whole message, true of a task that will, or will not, be tried again."""
        further = self._if_retried if has_next_try and not self.is_terminal else self._if_final
        return f"{self} {further}".rstrip()
