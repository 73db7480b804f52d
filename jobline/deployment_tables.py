"""What `queues.toml` and `worker.toml` may say of the deployment itself: tags, logs, alarms, the API's speed
and names, a worker's network."""

from __future__ import annotations

import re
from typing import Final

from jobline.definitions import LOG_DAYS, ApiAccess, ApiFront, Monitoring, QueueAlarms, Vpc
from jobline.toml_file import Table, TomlFile

LOG_KEYS: Final = ("retention",)
MOST_TAGS: Final = 48
"""A resource has at most 50 (AWS General Reference, "Tagging AWS resources"), of which two are Jobline's."""
OWN_TAGS: Final = "jobline:"

_DAY: Final = 24 * 3600
_TAG_KEY: Final = re.compile(r"[A-Za-z0-9+=._:/-]{1,128}")
"""What every service takes; API Gateway takes no more than this (TagResource, Amazon API Gateway API reference)."""
_TAG_VALUE: Final = re.compile(r"[\w .:/=+@-]{1,256}")
_HOST_NAME: Final = re.compile(r"(?=.{4,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])")
_CERTIFICATE: Final = re.compile(r"arn:aws[a-z-]*:acm:[a-z0-9-]+:[0-9]{12}:certificate/[A-Za-z0-9-]+")


def tags(file: TomlFile, document: Table) -> dict[str, str]:
    """The adopter's own tags, each fit for every service. Raises InvalidDefinitions."""
    table = file.table(document, "tags")
    if len(table) > MOST_TAGS:
        raise file.wrong("tags", f"these are {len(table)}; at most {MOST_TAGS} fit beside Jobline's own")
    seen: dict[str, str] = {}
    for key, value in table.items():
        place = f"tags.{key}"
        if not _TAG_KEY.fullmatch(key):
            raise file.wrong(place, "a tag's name is at most 128 of a-z A-Z 0-9 + = . _ : / -")
        if key.lower().startswith(("aws:", OWN_TAGS)):
            raise file.wrong(place, f"names that begin with aws: are AWS's, and with {OWN_TAGS} Jobline's; give yours another")
        if key.lower() in seen:
            raise file.wrong(place, f"this differs from {seen[key.lower()]} in capitals alone, which IAM takes for the same tag")
        if not _TAG_VALUE.fullmatch(file.convert(value, str, place)):
            raise file.wrong(place, "a tag's value is 1 to 256 letters, digits, spaces and + = . _ : / @ -")
        seen[key.lower()] = key
    return table


def log_days(file: TomlFile, document: Table) -> int:
    """For how many days log lines are kept; a month where nothing is said. Raises InvalidDefinitions."""
    table = file.table(document, "logs")
    file.know(table, LOG_KEYS, "logs")
    seconds = file.seconds(table.get("retention", "30d"), "logs.retention")
    if seconds not in {days * _DAY for days in LOG_DAYS}:
        below, above = (f"{days}d" for days in _around(seconds / _DAY))
        raise file.wrong("logs.retention", f"CloudWatch keeps logs for certain numbers of days; the nearest are {below} and {above}")
    return seconds // _DAY


def monitoring(file: TomlFile, document: Table) -> Monitoring:
    """Which alarms the deployment's own parts have, and who is told. Raises InvalidDefinitions."""
    table = file.table(document, "monitoring")
    file.know(table, Monitoring.__struct_fields__, "monitoring")
    return file.convert(table, Monitoring, "monitoring")


def queue_alarms(file: TomlFile, queue: Table, key: str) -> QueueAlarms:
    """From where on the figures of the queue at `key` ring an alarm. Raises InvalidDefinitions."""
    table, place = dict(file.table(queue, "alarms", key)), f"{key}.alarms"
    file.know(table, QueueAlarms.__struct_fields__, place)
    for name in ("age", "run_time"):
        if name in table:
            table[name] = file.seconds(table[name], f"{place}.{name}")
    return file.convert(table, QueueAlarms, place)


def api_front(file: TomlFile, document: Table, access: ApiAccess) -> ApiFront:
    """How fast the API may be called, and under which names. Raises InvalidDefinitions."""
    table = file.table(document, "api")
    file.know(table, ApiFront.__struct_fields__, "api")
    front = file.convert(table, ApiFront, "api")
    for key, name in (("domain", front.domain), ("token_domain", front.token_domain)):
        if name is not None and not _HOST_NAME.fullmatch(name):
            raise file.wrong(f"api.{key}", "this is a host name in lower case, such as jobs.example.com, without https://")
    if front.certificate is not None and not _CERTIFICATE.fullmatch(front.certificate):
        raise file.wrong("api.certificate", "this is the ARN of a certificate, arn:aws:acm:REGION:ACCOUNT:certificate/ID")
    _check_names(file, front, has_tokens=access.jwt is not None)
    return front


def _check_names(file: TomlFile, front: ApiFront, *, has_tokens: bool) -> None:
    named = front.domain or front.token_domain
    if named and not front.certificate:
        raise file.wrong("api.certificate", f"this is missing: the ARN of the ACM certificate of {named}, in the stack's region")
    if front.certificate and not named:
        raise file.wrong("api.domain", "this is missing: the name that the certificate is of")
    if front.token_domain and not has_tokens:
        raise file.wrong("api.token_domain", "no tokens are taken; [access] jwt says whose are, or leave this out")
    if front.token_domain and front.token_domain == front.domain:
        raise file.wrong("api.token_domain", "signed requests and those with a token need a name each")
    if front.only_domain and not front.domain:
        raise file.wrong("api.only_domain", "without a domain nobody could call the API; give [api] domain")
    if front.only_domain and has_tokens and not front.token_domain:
        raise file.wrong("api.only_domain", "requests with a token would have no name to go to; give [api] token_domain")


def vpc(file: TomlFile, document: Table) -> Vpc | None:
    """Where a worker's handlers run, or `None` for no network of the adopter's. Raises InvalidDefinitions."""
    if "vpc" not in document:
        return None
    table = file.table(document, "vpc")
    file.know(table, Vpc.__struct_fields__, "vpc")
    for name, what in (("subnets", "a list of the subnets' ids"), ("security_groups", "a list of the groups' ids")):
        if name not in table:
            raise file.wrong(f"vpc.{name}", f"this is missing: {what}")
    return file.convert(table, Vpc, "vpc")


def _around(days: float) -> tuple[int, int]:
    """The two allowed numbers of days that are nearest to this one: one below and one above where there are both."""
    above = next((index for index, allowed in enumerate(LOG_DAYS) if allowed > days), len(LOG_DAYS) - 1)
    above = max(above, 1)
    return LOG_DAYS[above - 1], LOG_DAYS[above]
