"""Mail texts made of templates: Jinja2 in a sandbox, where a missing variable is an error and what goes into HTML is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jobline import NonRetryable

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES: Final = Path(__file__).with_name("templates")
"""A folder for each template: `subject.txt` and at least one of `body.txt` and `body.html`; what they extend lies beside."""
LONGEST_TEXT: Final = 1_000_000
"""Characters of one text when its variables are filled in: a loop in a small template can make gigabytes."""

FILES: Final[Mapping[str, str]] = {
    "subject": "subject.txt",
    "body": "body.txt",
    "html": "body.html",
    "unsubscribe_url": "unsubscribe_url.txt",
}
"""A text's name → its file in a template's folder."""


def render(texts: Mapping[str, str], data: Mapping[str, Any]) -> dict[str, str]:
    """Each text (its name is one of `FILES`) with the variables of `data` filled in; in `html` they are escaped.

    Raises NonRetryable that names the text and what is wrong with it: the variable that `data` does not have, a line of bad syntax.
    """
    from jinja2 import ChoiceLoader, DictLoader, FileSystemLoader

    given = DictLoader({FILES[name]: source for name, source in texts.items()})
    environment = _environment(ChoiceLoader([given, FileSystemLoader(TEMPLATES)]))
    return {name: _rendered(environment, name, FILES[name], data) for name in texts}


def render_folder(template: str, data: Mapping[str, Any]) -> dict[str, str]:
    """The texts of the template in the folder `template` with the variables of `data` filled in; raises as `render` does."""
    from jinja2 import FileSystemLoader

    environment = _environment(FileSystemLoader(TEMPLATES))
    there = {name: f"{template}/{file}" for name, file in FILES.items() if (TEMPLATES / template / file).is_file()}
    if not there:
        known = sorted(path.name for path in TEMPLATES.iterdir() if path.is_dir())
        raise NonRetryable(f"there is no template {template!r}; this worker has {', '.join(known) or 'none'}")
    return {name: _rendered(environment, name, file, data) for name, file in there.items()}


def _environment(loader: Any) -> Environment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(loader=loader, undefined=StrictUndefined, autoescape=lambda name: (name or "").endswith(".html"))


def _rendered(environment: Environment, name: str, file: str, data: Mapping[str, Any]) -> str:
    from jinja2 import TemplateNotFound, TemplateSyntaxError, UndefinedError

    try:
        pieces, length = [], 0
        for piece in environment.get_template(file).generate(data):
            length += len(piece)
            if length > LONGEST_TEXT:
                raise NonRetryable(f"template of {name}: makes more than {LONGEST_TEXT:,} characters")
            pieces.append(piece)
        return "".join(pieces)
    except (NonRetryable, MemoryError):
        raise
    except UndefinedError as error:
        raise NonRetryable(f"template of {name}: {error.message}; data must have it") from error
    except TemplateSyntaxError as error:
        raise NonRetryable(f"template of {name}, line {error.lineno}: {error.message}") from error
    except TemplateNotFound as error:
        raise NonRetryable(f"template of {name}: there is no {error.name!r}") from error
    except Exception as error:  # template and data are the same at every attempt, and a template can raise nearly anything
        raise NonRetryable(f"template of {name}: {type(error).__name__}: {error}") from error
