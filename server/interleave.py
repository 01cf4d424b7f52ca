"""Work that waits for companies, done in turns: while they train one wave, the server averages
another.

A piece of work is a generator that yields whenever its messages are on their way, and returns its
result."""

from collections import deque
from collections.abc import Generator, Iterable
from typing import TypeVar

Result = TypeVar("Result")
Work = Generator[None, None, Result]


def interleave(works: Iterable[Work[Result]]) -> list[Result]:
    """The results, in the order of the works; each goes on to its next yield in turn."""
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
    finally:  # what one raises ends the others
        for _, work in waiting:
            work.close()
    return [results[number] for number in range(len(works))]


def run_to_end(work: Work[Result]) -> Result:
    """The result of one work."""
    return interleave([work])[0]
