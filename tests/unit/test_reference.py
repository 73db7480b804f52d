"""The pages of reference that the site is built with."""

from __future__ import annotations

from pathlib import Path

import pytest

import jobline
from jobline import openapi, reference

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return reference.pages()


def test_every_operation_of_one_job_or_queue_is_told_with_its_answers(pages: dict[str, str]) -> None:
    document = openapi.document()
    told = {path for path in document["paths"] if not path.startswith(("/queues/{queue}/jobs", "/queues/{queue}/uploads"))}
    for path in told:
        for method, operation in document["paths"][path].items():
            section = pages["api.md"].split(f"\n`{method.upper()} {path}`\n", 1)[1].split("\n## ", 1)[0]
            assert all(f"| {status} |" in section for status in operation["responses"]), f"{method} {path}"


def test_every_schema_s_fields_are_told_once_with_a_sentence(pages: dict[str, str]) -> None:
    section = pages["api.md"].split("{ #schema-reschedulerequest }", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == ["delay", "scheduled_at", "priority"]
    assert all(row.split("|")[-2].strip() for row in rows)


def test_every_type_is_told_with_what_it_does_and_what_it_takes(pages: dict[str, str]) -> None:
    section = pages["types.md"].split("\n### send_email\n", 1)[1].split("\n#", 1)[0]
    assert section.strip().splitlines()[0].strip() not in ("", "| field | type | default | what it is |")
    assert "| `to` |" in section
    workers = {path.parent.name for path in ROOT.glob("functions/*/worker.toml")}
    assert all(f"\n## {worker}\n" in pages["types.md"] for worker in workers)


def test_every_name_of_the_package_is_told(pages: dict[str, str]) -> None:
    assert [line for line in pages["python.md"].splitlines() if line.startswith(":::")] == [
        f"::: jobline.{name}" for name in jobline.__all__
    ]


def test_every_decision_is_in_the_index_and_every_page_is_in_the_site(pages: dict[str, str]) -> None:
    decisions = {path.name for path in (ROOT / "docs" / "decisions").glob("*.md")} - {"README.md"}
    index = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    assert [name for name in sorted(decisions) if f"({name})" not in index] == []

    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    written = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").glob("**/*.md") if path.name not in decisions}
    assert [page for page in sorted(written | pages.keys()) if f"- {page}\n" not in site] == []
