"""The machine's clock, set to another time where recordings are replayed."""

from datetime import UTC, datetime, timedelta


class SystemClock:
    """Implements `ports.clock.Clock`: the machine's time plus a fixed offset."""

    def __init__(self, offset_s: float = 0.0) -> None:
        self._offset = timedelta(seconds=offset_s)

    def now(self) -> datetime:
        return datetime.now(UTC) + self._offset
