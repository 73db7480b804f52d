"""The worker that takes files of rows in."""
