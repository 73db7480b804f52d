"""The HTTP API: enqueue jobs and ask about them."""
