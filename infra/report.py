"""What synth tells the person who runs it: how lanes share, what the stack costs at rest, and whether byte code is missing."""

from __future__ import annotations

from collections.abc import Iterator

from infra.byte_code import Compiler
from infra.idle_cost import idle_cost
from jobline.definitions import FEWEST_FOR_THREE_LANES, ONE_LANE, Definitions, Queue


def report(definitions: Definitions, *, python: str, compiler: Compiler | None) -> str:
    """The lines to print. `python` is the version that functions run on, `compiler` what compiled for it, if anything did."""
    return "\n".join(_lines(definitions, python, compiler))


def _lines(definitions: Definitions, python: str, compiler: Compiler | None) -> Iterator[str]:
    yield f"Jobline, stage {definitions.stage}:"
    for queue in definitions.queues.values():
        yield f"  {queue.name}: worker {queue.worker}, {_lanes(queue)}"
    bill = idle_cost(definitions)
    total = sum(item.dollars for item in bill)
    yield f"  idle cost per month: ${total:.2f} ({', '.join(f'{item.what} ${item.dollars:.2f}' for item in bill)})"
    if compiler is None:
        yield (
            f"  No Python {python} is on this machine, so the functions have no byte code: they run, but each cold start takes about"
            f" four times longer. `uv python install {python}` and another deploy mend it."
        )


def _lanes(queue: Queue) -> str:
    if queue.ordered:
        return f"ordered, at most {queue.concurrency} keys at a time"
    if queue.lane_names == ONE_LANE:
        small = queue.lanes != 1 and queue.concurrency < FEWEST_FOR_THREE_LANES
        why = f"; fewer than {FEWEST_FOR_THREE_LANES} cannot be shared by three lanes" if small else ""
        return f"one lane with concurrency {queue.concurrency}{why}"
    return "lanes " + ", ".join(f"{lane} {share}" for lane, share in queue.lane_concurrency.items())
