"""All situations."""

from __future__ import annotations

from . import code, conflicts, histories, identities, refusals, requests, waits
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
