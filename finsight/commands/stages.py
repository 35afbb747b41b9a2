"""Progress of long work, stage by stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status

from finsight.domain.errors import FinSightError

_SAY_AGAIN_S = 5.0


class Stages:
    """Shows each stage while it works and what came of it; remembers how long each took.

    On a terminal the running stage is a line that moves; elsewhere a line is
    printed when a stage has news, at most every five seconds.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self.seconds: dict[str, float] = {}
        self._say: Callable[[str], None] = lambda _: None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Run one stage; `detail` inside it says how far it is."""
        started = time.monotonic()
        last_detail = ""
        last_said = started

        if self._console.is_terminal:
            status = Status(name, console=self._console)

            def say(detail: str) -> None:
                nonlocal last_detail
                last_detail = detail
                status.update(f"{name}: {detail}")

            status.start()
        else:
            status = None

            def say(detail: str) -> None:
                nonlocal last_detail, last_said
                if detail != last_detail and time.monotonic() - last_said >= _SAY_AGAIN_S:
                    last_said = time.monotonic()
                    self._console.print(f"  … {name}: {detail}")
                last_detail = detail

        self._say = say
        try:
            yield
        finally:
            if status is not None:
                status.stop()
        self.seconds[name] = round(time.monotonic() - started, 1)
        self._console.print(f"[green]✓[/] {name} [dim]{self.seconds[name]:.1f} s[/] {last_detail}")

    def detail(self, text: str) -> None:
        """Say how far the running stage is."""
        self._say(text)

    def wait(self, look: Callable[[], tuple[bool, str]], limit_s: float, what: str) -> None:
        """Call `look` until its first value is true, showing its second.

        Raises:
            FinSightError: not within `limit_s` seconds; the message says how far it came.
        """
        deadline = time.monotonic() + limit_s
        while True:
            done, detail = look()
            self.detail(detail)
            if done:
                return
            if time.monotonic() > deadline:
                raise FinSightError(f"{what} took longer than {limit_s:.0f} s; so far: {detail}")
            time.sleep(0.25)
