"""The worker that talks to other people's systems."""
