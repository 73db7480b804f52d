"""Lanes: the SQS queues of one Jobline queue, by urgency."""

from __future__ import annotations

HIGH, NORMAL, LOW = "high", "normal", "low"


def lane_of(priority: int, lanes: tuple[str, ...]) -> str:
    """The lane for a priority (1 most urgent … 10): 1–3 high, 4–7 normal, 8–10 low; a queue with one lane has `normal` only."""
    wanted = HIGH if priority <= 3 else NORMAL if priority <= 7 else LOW
    return wanted if wanted in lanes else NORMAL
