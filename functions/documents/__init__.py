"""The worker that sets documents."""
