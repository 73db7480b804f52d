"""Jobline: a job queue that a team deploys into its own AWS account and then forgets."""

from jobline.context import Context
from jobline.errors import JoblineError
from jobline.registry import Cancel, NonRetryable, RetryAfter, Snooze, job

__all__ = ["Cancel", "Context", "JoblineError", "NonRetryable", "RetryAfter", "Snooze", "job"]
