"""Schedules that broke a property once. Each failed before the change that its comment names."""

from __future__ import annotations
