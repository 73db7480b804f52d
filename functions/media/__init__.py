"""The worker that works on pictures and videos."""
