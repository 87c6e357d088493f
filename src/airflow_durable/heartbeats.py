"""When this Airflow gives a silent worker up, as far as the configuration of this machine says."""

from __future__ import annotations

from datetime import timedelta

from airflow_durable.compat import conf
from airflow_durable.wording import HeartbeatLimits

_DEFAULTS = HeartbeatLimits()


def load_limits() -> HeartbeatLimits:
    """Return what is configured here. The scheduler's own configuration counts, which is as a rule the same."""
    return HeartbeatLimits(
        timeout=_read("scheduler", "task_instance_heartbeat_timeout", _DEFAULTS.timeout),
        detection=_read("scheduler", "task_instance_heartbeat_timeout_detection_interval", _DEFAULTS.detection),
        interval=_read("workers", "min_heartbeat_interval", _DEFAULTS.interval),
    )


def _read(section: str, option: str, default: timedelta) -> timedelta:
    return timedelta(seconds=conf.getfloat(section, option, fallback=default.total_seconds()))
