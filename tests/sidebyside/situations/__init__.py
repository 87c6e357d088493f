"""All situations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import code, conflicts, histories, identities, refusals, requests, waits

if TYPE_CHECKING:
    from .model import Situation

SITUATIONS: tuple[Situation, ...] = (
    *identities.SITUATIONS,
    *conflicts.SITUATIONS,
    *waits.SITUATIONS,
    *refusals.SITUATIONS,
    *requests.SITUATIONS,
    *code.SITUATIONS,
    *histories.SITUATIONS,
)
