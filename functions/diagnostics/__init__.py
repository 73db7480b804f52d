"""The worker whose jobs succeed, take time, fail and crash on demand."""
