"""The worker of the queue `operations`: what operators ask of many jobs at once. It alone may pause a queue."""
