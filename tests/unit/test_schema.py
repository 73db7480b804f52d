"""Payloads against their schema: the api judges as the worker's decoder does, and says where."""

from __future__ import annotations

import datetime as dt
import enum
import json
import uuid
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta

from jobline.schema import MOST_PROBLEMS, misfits


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(msgspec.Struct, forbid_unknown_fields=True):
    width: Annotated[int, Meta(ge=1, le=8000)]
    height: int | None = None


class Square(msgspec.Struct, tag="square"):
    side: float


class Circle(msgspec.Struct, tag="circle"):
    radius: float


class Tree(msgspec.Struct):
    children: list[Tree] = []


class Picture(msgspec.Struct, forbid_unknown_fields=True):
    to: Annotated[str, Meta(min_length=3, max_length=20, pattern="@")]
    sizes: Annotated[list[Size], Meta(min_length=1, max_length=3)]
    color: Color = Color.RED
    kind: Literal["x", 1] = "x"
    pair: tuple[int, str] | None = None
    either: int | str | None = None
    counts: dict[str, int] = {}
    ratio: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    shape: Square | Circle | None = None
    tree: Tree | None = None
    flag: bool = False
    at: Annotated[dt.datetime, Meta(tz=True)] | None = None
    day: dt.date | None = None
    wait: dt.timedelta | None = None
    token: uuid.UUID | None = None
    price: Decimal | None = None
    data: bytes = b""
    free: Any = None


SCHEMA = msgspec.json.schema(Picture)
FITS: dict[str, Any] = {"to": "a@b", "sizes": [{"width": 3}]}


def told(value: Any, schema: Any = SCHEMA) -> list[tuple[str, str]]:
    return [(problem["pointer"], problem["detail"]) for problem in misfits(value, schema)]


@pytest.mark.parametrize(
    ("change", "pointer", "detail"),
    [
        (
            {"colour": "red"},
            "/colour",
            "is not a known field; there are to, sizes, color, kind, pair, either, counts, ratio, shape, tree, flag, ",
        ),
        ({"to": 5}, "/to", "must be a string, not an integer"),
        ({"to": "a@"}, "/to", "must have at least 3 characters"),
        ({"to": "@" * 21}, "/to", "must have at most 20 characters"),
        ({"to": "abc"}, "/to", "must match @"),
        ({"sizes": {}}, "/sizes", "must be an array, not an object"),
        ({"sizes": []}, "/sizes", "must have at least 1 elements"),
        ({"sizes": [{"width": 3}, {"width": 0}]}, "/sizes/1/width", "must be at least 1"),
        ({"sizes": [{"width": 8001}]}, "/sizes/0/width", "must be at most 8000"),
        ({"sizes": [{"width": 1.0}]}, "/sizes/0/width", "must be an integer, not a number"),
        ({"sizes": [{"width": True}]}, "/sizes/0/width", "must be an integer, not a boolean"),
        ({"sizes": [{}]}, "/sizes/0/width", "is missing"),
        ({"sizes": [{"width": 3, "height": "x"}]}, "/sizes/0/height", "must be an integer or null"),
        ({"color": "green"}, "/color", 'must be "blue" or "red"'),
        ({"kind": True}, "/kind", "must be"),
        ({"pair": [1]}, "/pair", "must have at least 2 elements"),
        ({"pair": [1, 2]}, "/pair/1", "must be a string, not an integer"),
        ({"pair": [1, "a", 3]}, "/pair", "must have at most 2 elements"),
        ({"either": 1.5}, "/either", "must be an integer, a string or null"),
        ({"counts": {"a/b.c[0]": "x"}}, "/counts/a~1b.c[0]", "must be an integer, not a string"),
        ({"ratio": 1}, "/ratio", "must be less than 1"),
        ({"shape": {"type": "hexagon"}}, "/shape/type", 'must be "square" or "circle"'),
        ({"shape": {"type": "circle"}}, "/shape/radius", "is missing"),
        (
            {"tree": {"children": [{"children": [{"children": 1}]}]}},
            "/tree/children/0/children/0/children",
            "must be an array, not an integer",
        ),
        ({"flag": 0}, "/flag", "must be a boolean, not an integer"),
        ({"at": "2026-01-31T09:30:00"}, "/at", "must be date-time text"),
        ({"day": "31.1.2026"}, "/day", "must be date text"),
        ({"wait": "10m"}, "/wait", "must be duration text"),
        ({"token": "z"}, "/token", "must be uuid text"),
        ({"price": "x"}, "/price", "must be decimal text"),
        ({"data": "***"}, "/data", "must be base64 text"),
    ],
    ids=lambda part: next(iter(part)) if isinstance(part, dict) else "",
)
def test_each_misfit_is_told_with_its_place(change: dict[str, Any], pointer: str, detail: str) -> None:
    ((found_pointer, found_detail),) = told(FITS | change)
    assert found_pointer == pointer
    assert found_detail.startswith(detail)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(json.dumps(FITS | change), type=Picture)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"sizes": [{"width": 1}, {"width": 8000, "height": None}]},
        {"pair": [1, "a"]},
        {"either": None, "color": "blue", "kind": 1, "counts": {"a.b": 2**70}},
        {"ratio": 0.25, "flag": True, "free": [{"any": "thing"}]},
        {"shape": {"type": "square", "side": 2}},
        {"tree": {"children": [{}, {"children": []}]}},
        {"at": "2026-01-31T09:30:00Z", "day": "2026-01-31", "wait": "PT10M", "price": "0.10", "data": "aGk="},
        {"token": "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"},
    ],
)
def test_what_the_worker_takes_fits(change: dict[str, Any]) -> None:
    assert told(FITS | change) == []
    msgspec.json.decode(json.dumps(FITS | change), type=Picture)


def test_everything_missing_is_told_at_once_and_no_flood_of_it() -> None:
    assert told({}) == [("/to", "is missing"), ("/sizes", "is missing")]
    assert len(told({"to": "a@b", "sizes": [], "counts": {str(n): "x" for n in range(100)}})) == MOST_PROBLEMS


def test_a_payload_of_any_shape_fits_a_type_that_says_nothing() -> None:
    assert told({"a": [1, None]}, msgspec.json.schema(dict)) == []
    assert told([1], msgspec.json.schema(dict)) == [("", "must be an object, not an array")]
    assert told(1.5, msgspec.json.schema(Any)) == []


plain = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 9000), st.floats(-1, 2), st.sampled_from(["", "a@b", "red", "x", "square", "2026-01-31"])
)
anything = st.recursive(
    plain, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("ab"), inner)), max_leaves=4
)
sizes = st.lists(st.fixed_dictionaries({}, optional={"width": plain, "height": plain, "x": plain}), max_size=4)
shapes = st.fixed_dictionaries({}, optional={"type": st.sampled_from(["square", "circle", "x"]), "side": plain, "radius": plain})
pictures = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(Picture.__struct_fields__, anything)
    | {"sizes": sizes, "shape": shapes, "pair": st.lists(plain, max_size=3), "to": st.text("a@", max_size=25), "unknown": plain},
)


@settings(max_examples=400)
@given(st.one_of(pictures, pictures.map(lambda some: FITS | some), anything))
def test_the_api_and_the_worker_agree_on_what_fits(value: Any) -> None:
    try:
        msgspec.json.decode(json.dumps(value), type=Picture)
        fits = True
    except msgspec.ValidationError:
        fits = False
    assert (told(value) == []) == fits
