"""What the jobs of the `operations` worker have at hand beside what every handler has: the records of all queues."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jobline.context import Context, Toolbox
from jobline.counter_items import CounterItems
from jobline.replies import Replies
from jobline.store import Store
from jobline.telling import Telling
from jobline.transitions import Keep

if TYPE_CHECKING:
    from jobline.children import Children
    from jobline.topics import Topics


class OperatorTools(Toolbox):
    """The toolbox of that one worker, whose role alone may delete records."""

    def __init__(
        self,
        *,
        store: Store,
        counters: CounterItems,
        keep: Keep,
        children: Children,
        telling: Telling,
        replies: Replies,
        topics: Topics,
        sleep: Callable[[float], None] = time.sleep,
        **rest: Any,
    ) -> None:
        super().__init__(children=children, **rest)
        self.makes = children
        self.telling = telling
        self.replies = replies
        self.topics = topics
        self.store = store
        self.counters = counters
        self.keep = keep
        self.sleep = sleep

    @classmethod
    def of(cls, ctx: Context) -> OperatorTools:
        """The tools of an operator's job; raises TypeError in a context of any other worker."""
        if not isinstance(ctx.tools, cls):
            raise TypeError("only the operations worker reaches the records of all queues")
        return ctx.tools
