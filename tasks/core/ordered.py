"""Takes results in the order of the work, while few items are computed ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


class Pending(Protocol[Result_co]):
    """A result that is being computed: a future of this process, or of a cluster."""

    def result(self) -> Result_co:
        """Returns the result as soon as it is there, or raises the function's error."""

    def cancel(self) -> object:
        """Cancels the work if it has not started."""


def in_order(
    submit: Callable[[Callable[[Item], Result], Item], Pending[Result]],
    function: Callable[[Item], Result],
    items: Iterable[Item],
    ahead: Callable[[], int],
) -> Iterator[Result]:
    """Yields `function(item)` for each item, in order; at most `ahead()` of them are submitted and not yielded."""
    pending: deque[Pending[Result]] = deque()
    try:
        for item in items:
            pending.append(submit(function, item))
            while len(pending) >= ahead():
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:  # after an error or Ctrl-C, only work that has started is waited for
        for work in pending:
            work.cancel()
