"""JMESPath (https://jmespath.org) as people write it into jobs and subscriptions: checked before it is kept, asked without surprises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from jmespath.parser import ParsedResult

LONGEST: Final = 1000
"""Characters of an expression."""


def compiled(expression: str) -> ParsedResult:
    """The expression, ready to be asked. Raises ValueError with a sentence that says what is wrong with it."""
    # Imported here: few need it.
    import jmespath
    from jmespath.functions import Functions

    try:
        parsed = jmespath.compile(expression)
    except (ValueError, RecursionError) as error:  # a JMESPathError is a ValueError
        raise ValueError(f"is no JMESPath expression: {_in_one_line(error)}") from error
    for name in _functions_in(parsed.parsed):
        if name not in Functions.FUNCTION_TABLE:
            raise ValueError(f"is no JMESPath expression: there is no function {name}()")
    return parsed


def ask(query: ParsedResult, document: Any) -> Any:
    """What the expression finds in the document; raises ValueError when it cannot be asked of this one.

    A function may be given what it does not take, such as the length of what is not there; and what it makes has a limit
    (`bounded_queries.MOST`), which holds for the result as well.
    """
    from jobline.bounded_queries import BoundedInterpreter, weight

    try:
        value = BoundedInterpreter().visit(query.parsed, document)
        weight(value)
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise ValueError(_in_one_line(error)) from error
    return value


def holds(value: Any) -> bool:
    """JMESPath's own idea of what is true, by which 0 is (https://jmespath.org/specification.html, "Or Expressions")."""
    return not (value is None or value is False or value in ("", [], {}))


def _functions_in(node: Any) -> list[str]:
    """Names of the functions that a parsed expression calls; the library itself finds an unknown one only when it is reached."""
    own = [node["value"]] if node["type"] == "function_expression" else []
    return own + [name for child in node["children"] if isinstance(child, dict) for name in _functions_in(child)]


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())
