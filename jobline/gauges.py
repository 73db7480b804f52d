"""Gauges: the figures of queues that alarms watch, told once a minute by a log line that CloudWatch makes metrics of.

A figure is told only where an alarm watches it, and only when there is something to tell: a metric costs by the hours in which it has
values, so a deployment in which nothing is wrong pays for none. The line is in the embedded metric format ("Specification: Embedded
metric format", Amazon CloudWatch user guide).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from jobline.definitions import Definitions, QueueAlarms
from jobline.log import Log
from jobline.stats import QueueStats
from jobline.times import to_milliseconds

NAMESPACE: Final = "Jobline"
STACK: Final = "stack"
"""The dimension of every metric: two deployments in one account have figures of their own."""
QUEUE: Final = "queue"
DEAD: Final = "dead"


class Gauge(NamedTuple):
    """One figure: its metric's name, as the API calls it where it has it, and its unit as CloudWatch spells it."""

    metric: str
    unit: str
    read: Callable[[QueueStats, QueueAlarms], float | None]


def _missing_workers(stats: QueueStats, alarms: QueueAlarms) -> float | None:
    """Workers fewer than there should be while a job is due and waits, and nobody has paused the queue."""
    if alarms.workers is None or stats.oldest_job_age is None or stats.paused:
        return None
    return max(0, alarms.workers - stats.active_workers)


GAUGES: Final[Mapping[str, Gauge]] = {
    "dead": Gauge(DEAD, "Count", lambda stats, _: stats.dead),
    "depth": Gauge("pending", "Count", lambda stats, _: stats.pending),
    "age": Gauge("oldest_job_age", "Seconds", lambda stats, _: stats.oldest_job_age),
    "run_time": Gauge("avg_run_time", "Seconds", lambda stats, _: stats.avg_run_time),
    "error_rate": Gauge("error_rate", "None", lambda stats, _: stats.error_rate),
    "workers": Gauge("missing_workers", "Count", _missing_workers),
}
"""By the key under `[queues.NAME] alarms` that asks for it."""


class Gauges:
    """What one deployment's alarms watch; a tick sees every queue and then tells."""

    def __init__(self, definitions: Definitions, *, stack: str, clock: Callable[[], datetime], log: Log) -> None:
        self._alarms = {name: queue.alarms for name, queue in definitions.queues.items()}
        self._of_deployment = definitions.monitoring.alarms
        self._stack = stack
        self._clock = clock
        self._log = log
        self._dead = 0

    def see(self, queue: str, stats: QueueStats) -> None:
        """Tells what alarms of this queue watch, and counts it in for those of the deployment."""
        self._dead += stats.dead
        alarms = self._alarms.get(queue, QueueAlarms())
        asked = [gauge for key, gauge in GAUGES.items() if getattr(alarms, key) is not None]
        values = {gauge: gauge.read(stats, alarms) for gauge in asked}
        self._say({STACK: self._stack, QUEUE: queue}, {gauge: value for gauge, value in values.items() if value})

    def tell(self) -> None:
        """Tells what the deployment's own alarms watch of the queues seen since the last time."""
        dead, self._dead = self._dead, 0
        if self._of_deployment and dead:
            self._say({STACK: self._stack}, {GAUGES["dead"]: dead})

    def _say(self, dimensions: Mapping[str, str], values: Mapping[Gauge, float]) -> None:
        if not values:
            return
        metrics = [{"Name": gauge.metric, "Unit": gauge.unit} for gauge in values]
        directive = {"Namespace": NAMESPACE, "Dimensions": [list(dimensions)], "Metrics": metrics}
        told: dict[str, Any] = {"Timestamp": to_milliseconds(self._clock()), "CloudWatchMetrics": [directive]}
        self._log.info("figures", _aws=told, **dimensions, **{gauge.metric: value for gauge, value in values.items()})
