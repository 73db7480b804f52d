"""The fields of an enqueue request, each by itself: what a client may write, and what it is read as."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from jobline.errors import FieldProblem, InvalidJob
from jobline.ids import is_job_id
from jobline.locks import ON_CONFLICT, UNTIL, Unique
from jobline.retry import LONGEST_DELAY_MS, MAX_ATTEMPTS_LIMIT, RetryPolicy
from jobline.schema import MOST_PROBLEMS, place
from jobline.times import parse_duration, parse_instant

LONGEST_DELAY: Final = timedelta(days=365)
LONGEST_EXPIRY: Final = timedelta(days=3650)
LONGEST_TIMEOUT: Final = timedelta(minutes=14, seconds=30)
MOST_TAGS: Final = 10
LONGEST_TAG: Final = 64
LONGEST_KEY: Final = 128
MOST_UNIQUE_KEYS: Final = 10
LONGEST_URL: Final = 2048

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
# What SQS takes as a MessageGroupId too: 128 of the visible ASCII characters (SendMessage, Amazon SQS API reference).
_KEY: Final = re.compile(rf"[!-~]{{1,{LONGEST_KEY}}}")
_SECOND: Final = timedelta(seconds=1)
_LONGEST_NAME_WITH_ADVICE: Final = 64

Reader = Callable[[Any], Any]
"""Takes a JSON value that is not null; ValueError with what it must be, or InvalidJob with problems further inside."""


def is_name(text: str) -> bool:
    """Whether a queue or a type may be called so."""
    return _NAME.fullmatch(text) is not None


def _name(value: Any) -> str:
    if not isinstance(value, str) or not is_name(value):
        raise ValueError("must be a name: a lower-case letter and at most 63 of a-z 0-9 _ -")
    return value


def _key(value: Any) -> str:
    if not isinstance(value, str) or not _KEY.fullmatch(value):
        raise ValueError(f"must be 1 to {LONGEST_KEY} visible ASCII characters")
    return value


def _upload_id(value: Any) -> str:
    if not isinstance(value, str) or not is_job_id(value):
        raise ValueError("must be an upload's id, as POST /uploads answers it")
    return value


def _url(value: Any) -> str:
    """Whether it may be called is for `destinations` to say, which knows the deployment."""
    if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_URL:
        raise ValueError(f"must be a URL of at most {LONGEST_URL} characters")
    return value


def whole(least: int, most: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return value

    return read


def _fraction(value: Any) -> float:
    if type(value) not in {int, float} or not 0 <= value <= 1:
        raise ValueError("must be a number from 0 to 1")
    return float(value)


def _delay(value: Any) -> timedelta:
    return _at_most(parse_duration(value), LONGEST_DELAY, "1 year")


def _seconds(longest: timedelta, name: str) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        seconds, rest = divmod(_at_most(parse_duration(value), longest, name), _SECOND)
        if rest or not seconds:
            raise ValueError("must be a whole number of seconds, at least 1")
        return seconds

    return read


def _at_most(duration: timedelta, longest: timedelta, name: str) -> timedelta:
    if duration > longest:
        raise ValueError(f"must be at most {name}")
    return duration


def _tags(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MOST_TAGS:
        raise ValueError(f"must be an array of at most {MOST_TAGS} tags")
    problems = [
        FieldProblem(place("/tags", number), f"must be 1 to {LONGEST_TAG} printable characters")
        for number, tag in enumerate(value)
        if not isinstance(tag, str) or not 1 <= len(tag) <= LONGEST_TAG or not tag.isprintable()
    ]
    if problems:
        raise InvalidJob(problems=tuple(problems))
    return tuple(value)


def _retry(value: Any) -> RetryPolicy:
    if not isinstance(value, dict):
        raise ValueError("must be an object")
    fields, problems = read_fields({name: each for name, each in value.items() if each is not None}, _RETRY_FIELDS, "/retry")
    if problems:
        raise InvalidJob(problems=tuple(problems))
    return RetryPolicy(**fields)


def _unique(value: Any) -> Unique:
    if not isinstance(value, dict):
        raise ValueError("must be an object")
    given = {name: each for name, each in value.items() if each is not None}
    fields, problems = read_fields(given, _UNIQUE_FIELDS, "/unique")
    if "key" in given and "keys" in given:
        problems.append(FieldProblem("/unique/keys", "cannot be given together with key"))
    if given.get("until") == "ttl" and "for" not in given:
        problems.append(FieldProblem("/unique/for", "is needed when until is ttl"))
    if problems:
        raise InvalidJob(problems=tuple(problems))
    return Unique(**{"seconds" if name == "for" else name: each for name, each in fields.items()})


def _payload_fields(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_UNIQUE_KEYS:
        raise ValueError(f"must be an array of 1 to {MOST_UNIQUE_KEYS} names or pointers of payload fields")
    problems = [
        FieldProblem(place("/unique/keys", number), f"must be 1 to {LONGEST_KEY} characters")
        for number, name in enumerate(value)
        if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_KEY
    ]
    if problems:
        raise InvalidJob(problems=tuple(problems))
    return tuple(value)


def _one_of(words: tuple[str, ...]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"must be {', '.join(words[:-1])} or {words[-1]}")
        return value

    return read


_UNIQUE_FIELDS: Final[Mapping[str, Reader]] = {
    "key": _key,
    "keys": _payload_fields,
    "for": _seconds(LONGEST_EXPIRY, "3650 days"),
    "until": _one_of(UNTIL),
    "on_conflict": _one_of(ON_CONFLICT),
}
_RETRY_FIELDS: Final[Mapping[str, Reader]] = {
    "max_attempts": whole(1, MAX_ATTEMPTS_LIMIT),
    "backoff": _one_of(("immediate", "fixed", "exponential")),
    "base_delay": whole(0, LONGEST_DELAY_MS),
    "max_delay": whole(0, LONGEST_DELAY_MS),
    "jitter": _fraction,
}
ENQUEUE_FIELDS: Final[Mapping[str, Reader]] = {
    "queue": _name,
    "type": _name,
    "payload": lambda value: value,
    "payload_ref": _upload_id,
    "priority": whole(1, 10),
    "delay": _delay,
    "scheduled_at": parse_instant,
    "max_attempts": whole(1, MAX_ATTEMPTS_LIMIT),
    "retry": _retry,
    "timeout": _seconds(LONGEST_TIMEOUT, "14 minutes 30 seconds (870)"),
    "expires_in": _seconds(LONGEST_EXPIRY, "3650 days"),
    "idempotency_key": _key,
    "group": _key,
    "ordering_key": _key,
    "tags": _tags,
    "unique": _unique,
    "callback_url": _url,
    "reply_to": _name,
}


def read_fields(body: Mapping[str, Any], readers: Mapping[str, Reader], pointer: str) -> tuple[dict[str, Any], list[FieldProblem]]:
    """Every field that could be read, and what is wrong with the others (at most 20 things)."""
    fields: dict[str, Any] = {}
    wrong: list[FieldProblem] = []
    for name, value in body.items():
        if len(wrong) >= MOST_PROBLEMS:
            break
        at = place(pointer, name)
        if name not in readers:
            wrong.append(FieldProblem(at, "is not a known field" + near(name, readers)))
            continue
        try:
            fields[name] = readers[name](value)
        except ValueError as error:
            wrong.append(FieldProblem(at, str(error)))
        except InvalidJob as error:
            wrong.extend(error.problems)
    return fields, wrong


def near(given: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` when a known name is close to the given one, else nothing."""
    if len(given) > _LONGEST_NAME_WITH_ADVICE:
        return ""
    from difflib import get_close_matches  # only ever needed to refuse something

    close = get_close_matches(given, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
