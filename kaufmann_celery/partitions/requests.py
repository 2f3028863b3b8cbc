"""What the consumer's thread is asked to do between two polls."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

Request = Callable[[], None]


class Requests:
    """In the order in which they were made. Any thread may add some; one carries them out."""

    def __init__(self) -> None:
        self._next: deque[Request] = deque()
        self._later: deque[Request] = deque()

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self._next or self._later)

    def add(self, request: Request) -> None:
        """Have *request* carried out."""
        self._next.append(request)

    def add_again(self, request: Request) -> None:
        """Have one that came to nothing carried out the next time, after a poll."""
        self._later.append(request)

    def carry_out(self) -> None:
        """Carry out all. One that raises is the first of the next time."""
        for _ in range(len(self._later)):
            self._next.append(self._later.popleft())
        while self._next:
            self._next[0]()
            self._next.popleft()
