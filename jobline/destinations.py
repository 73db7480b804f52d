"""What `queues.toml` says of where ends of jobs are told: `[callbacks]` and `[replies.NAME]`. Read on the host."""

from __future__ import annotations

from typing import Final

from jobline.addresses import Rules
from jobline.definitions import LONGEST_FUNCTION_TIMEOUT, OPERATIONS, Callbacks, ReplyQueue, Worker
from jobline.errors import InvalidSettings
from jobline.fields import is_name
from jobline.telling import LOOPBACK_PORTS, SIGNING_SECRET
from jobline.toml_file import Table, TomlFile

CALLBACK_KEYS: Final = Callbacks.__struct_fields__
REPLY_KEYS: Final = ("queue", "stages")


def read_callbacks(file: TomlFile, document: Table) -> Callbacks:
    """How ends are told to URLs; raises InvalidDefinitions."""
    table = file.table(document, "callbacks")
    file.know(table, CALLBACK_KEYS, "callbacks")
    callbacks = file.convert(table, Callbacks, "callbacks")
    try:
        Rules.of("local", callbacks.port_list)
    except InvalidSettings as error:
        raise file.wrong("callbacks.loopback_ports", error.detail) from error
    return callbacks


def read_replies(file: TomlFile, document: Table, stage: str) -> dict[str, ReplyQueue]:
    """The reply queues of a stage, by name; raises InvalidDefinitions."""
    found = {}
    for name, table in sorted(file.tables(document, "replies").items()):
        key = f"replies.{name}"
        if not is_name(name):
            raise file.wrong(key, "a reply queue's name is a lower-case letter and at most 63 of a-z 0-9 _ -")
        file.know(table, REPLY_KEYS, key)
        stages = file.convert(table.get("stages", [stage]), list[str], f"{key}.stages")
        fields = {field: value for field, value in table.items() if field != "stages"}
        reply = file.convert(fields | {"name": name}, ReplyQueue, key)
        if stage in stages:
            found[name] = reply
    return found


def operations_worker(callbacks: Callbacks) -> Worker:
    """The worker of the queue `operations`, which tells ends among other things: it alone may read the signing secret."""
    return Worker(
        name=OPERATIONS,
        memory=256,
        timeout=LONGEST_FUNCTION_TIMEOUT,
        secrets={} if callbacks.secret is None else {SIGNING_SECRET: callbacks.secret},
        environment={LOOPBACK_PORTS: callbacks.port_list} if callbacks.loopback_ports else {},
    )
