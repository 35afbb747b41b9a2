"""A clock that a test sets."""

from datetime import datetime


class FixedClock:
    """Stands at `moment` until the test moves it."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment
