"""The worker that tells people things."""
