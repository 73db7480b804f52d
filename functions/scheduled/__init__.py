"""The worker whose jobs come by the clock."""
