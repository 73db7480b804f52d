"""The topics that `queues.toml` declares: read and checked on the host, as the API checks what is made at run time."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from jobline import strict_json
from jobline.declared_schedules import QUEUES_FILE, misplaced
from jobline.definitions import DeclaredTopic, Definitions
from jobline.errors import InvalidRequest
from jobline.fields import is_name
from jobline.toml_file import Table, TomlFile
from jobline.topics import LONGEST_DESCRIPTION, MOST_SUBSCRIPTIONS, SUBSCRIPTION_FIELDS, parse_subscription
from jobline.types import Types

TOPIC_KEYS: Final = ("description", "subscriptions", "stages")
SUBSCRIPTION_KEYS: Final = ("stages", *SUBSCRIPTION_FIELDS)
_ANY_TIME: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""Nothing that is checked here depends on it."""


def read_topics(file: TomlFile, table: Table, stage: str) -> dict[str, DeclaredTopic]:
    """The topics of a stage, by name; raises InvalidDefinitions. Queues and types are checked later, by `check_subscriptions`."""
    found = {}
    for name, fields in sorted(file.tables(table, "topics").items()):
        key = f"topics.{name}"
        _check_name(file, key, name, "a topic's")
        file.know(fields, TOPIC_KEYS, key)
        description = file.convert(fields.get("description", ""), str, f"{key}.description")
        if len(description) > LONGEST_DESCRIPTION or not description.isprintable():
            raise file.wrong(f"{key}.description", f"this is at most {LONGEST_DESCRIPTION} printable characters")
        subscriptions = _subscriptions(file, fields, key, stage)
        if len(subscriptions) > MOST_SUBSCRIPTIONS:
            raise file.wrong(f"{key}.subscriptions", f"these are {len(subscriptions)}; a topic has at most {MOST_SUBSCRIPTIONS}")
        if _is_here(file, fields, key, stage):
            found[name] = DeclaredTopic(description=description, subscriptions=subscriptions)
    return found


def _subscriptions(file: TomlFile, topic: Table, key: str, stage: str) -> dict[str, str]:
    found = {}
    tables = file.table(topic, "subscriptions", key)
    for name in sorted(tables):
        place = f"{key}.subscriptions.{name}"
        _check_name(file, place, name, "a subscription's")
        fields = file.table(tables, name, f"{key}.subscriptions")
        file.know(fields, SUBSCRIPTION_KEYS, place)
        text = json.dumps({field: value for field, value in fields.items() if field != "stages"}, ensure_ascii=False, default=str)
        try:
            subscription = parse_subscription(strict_json.parse(text.encode()), name, declared=True)
        except InvalidRequest as error:
            raise misplaced(file, place, error) from error
        if _is_here(file, fields, place, stage):
            found[name] = subscription.text
    return found


def check_subscriptions(definitions: Definitions, types: Types) -> None:
    """Raises InvalidDefinitions for a declared subscription whose jobs would be refused: no such queue or type, times that do not fit."""
    for topic, declared in definitions.topics.items():
        for name, text in declared.subscriptions.items():
            subscription = parse_subscription(strict_json.parse(text.encode()), name, declared=True)
            try:
                subscription.check(definitions, types, lambda: _ANY_TIME)
            except InvalidRequest as error:
                raise misplaced(TomlFile(Path(), QUEUES_FILE), f"topics.{topic}.subscriptions.{name}", error) from error


def _check_name(file: TomlFile, key: str, name: str, whose: str) -> None:
    if not is_name(name):
        raise file.wrong(key, f"{whose} name is a lower-case letter and at most 63 of a-z 0-9 _ -")


def _is_here(file: TomlFile, fields: Table, key: str, stage: str) -> bool:
    stages: Any = fields.get("stages", [stage])
    return stage in file.convert(stages, list[str], f"{key}.stages")
