"""The worker that works on pictures."""
