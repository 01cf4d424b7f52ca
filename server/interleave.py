"""Interleaving: while the companies train one wave, the server averages another.

Work that has to wait for companies is a generator. It yields when its messages are on their way,
and returns its result.
"""

from collections import deque
from collections.abc import Generator, Iterable
from typing import TypeVar

Result = TypeVar("Result")
Work = Generator[None, None, Result]


def interleave(works: Iterable[Work[Result]]) -> list[Result]:
    """Runs each work to its next yield, then the next one, until all are done.

    Returns the results in the order of the works. An exception in one work closes all others.
    """
    works = list(works)
    results: dict[int, Result] = {}
    waiting = deque(enumerate(works))
    try:
        while waiting:
            number, work = waiting.popleft()
            try:
                next(work)
            except StopIteration as end:
                results[number] = end.value
            else:
                waiting.append((number, work))
    finally:
        for _, work in waiting:
            work.close()
    return [results[number] for number in range(len(works))]


def run_to_end(work: Work[Result]) -> Result:
    """The result of a single work."""
    (result,) = interleave([work])
    return result
