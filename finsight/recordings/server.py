"""A local HTTP server that answers as exchanges and news feeds did, up to a given moment.

The real exchange client and the real feed reader talk to it, in the demo and in
tests. Run it alone with

    python -m finsight.recordings.server --port 9100 --until 2025-12-13T12:00Z
"""

from __future__ import annotations

import argparse
import importlib
import socket
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount

from finsight.ports.clock import Clock
from finsight.recordings.binance import binance_routes
from finsight.recordings.coinbase import coinbase_exchange_routes, coinbase_routes
from finsight.recordings.faults import Faults
from finsight.recordings.kraken import kraken_routes
from finsight.recordings.recorded_candles import RecordedCandles

RECORDINGS = Path(__file__).parent
"""The folder of the recordings that come with the package."""

VENUES = {
    "binance": binance_routes,
    "coinbase": coinbase_routes,
    "coinbaseexchange": coinbase_exchange_routes,
    "kraken": kraken_routes,
}
_START_TIMEOUT_S = 20.0


class RecordedWorld:
    """A running server. `stop` it, or use it as a context manager.

    Attributes:
        base_url: 'http://127.0.0.1:<port>'; feeds lie below it.
        venue_urls: by ccxt id, what `ExchangeSettings.base_url` must be.
        faults: what goes wrong on demand, and the log of requests.
    """

    def __init__(self, app: Faults, listener: socket.socket) -> None:
        host, port = listener.getsockname()[:2]
        self.base_url = f"http://{host}:{port}"
        self.venue_urls = {venue: f"{self.base_url}/{venue}" for venue in VENUES}
        self.faults = app
        self._listener = listener
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="critical",
                access_log=False,
                lifespan="off",
                date_header=False,
                timeout_graceful_shutdown=1,
                timeout_keep_alive=60,
            )
        )
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise RuntimeError(f"the recorded world did not start at {self.base_url}")
            time.sleep(0.005)

    def wait(self) -> None:
        """Return when the server has stopped."""
        self._thread.join()

    def stop(self) -> None:
        """Close every connection and the port."""
        self._server.should_exit = True
        self._thread.join(timeout=10)
        self._listener.close()

    def __enter__(self) -> RecordedWorld:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def start_recorded_world(folder: Path, clock: Clock, port: int = 0) -> RecordedWorld:
    """Serve the recordings in `folder` on loopback, as they looked at `clock`'s time.

    `folder` holds `candles/<venue>/<BASE-QUOTE>/<timeframe>.parquet`, or is that
    `candles` folder itself. Port 0 takes a free one.

    Raises:
        OSError: the port is taken.
    """
    listener = socket.create_server(("127.0.0.1", port), backlog=512)
    return RecordedWorld(Faults(build_app(folder, clock)), listener)


def build_app(folder: Path, clock: Clock) -> Starlette:
    """Return the application alone, for whoever runs its own server."""
    inner = folder / "candles"
    candles = RecordedCandles(inner if inner.is_dir() else folder)
    routes: list[BaseRoute] = [
        Mount(f"/{venue}", routes=make_routes(candles, clock))
        for venue, make_routes in VENUES.items()
    ]
    return Starlette(routes=routes + _feed_routes(folder, clock))


def _feed_routes(folder: Path, clock: Clock) -> list[BaseRoute]:
    name = "finsight.recordings.feeds"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name != name:
            raise
        return []
    return list(module.feed_routes(folder, clock))


class _RunningFrom:
    """A clock that stood at `moment` when it was made, and runs on."""

    def __init__(self, moment: datetime) -> None:
        self._offset = moment - datetime.now(UTC)

    def now(self) -> datetime:
        return datetime.now(UTC) + self._offset


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until interrupted; print the address first."""
    parser = argparse.ArgumentParser(prog="python -m finsight.recordings.server")
    parser.add_argument("--folder", type=Path, default=RECORDINGS)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--until", default="2025-12-13T12:00Z", help="the time it is there now")
    given = parser.parse_args(arguments)
    until = datetime.fromisoformat(given.until)
    if until.tzinfo is None:
        parser.error("--until needs a time zone: 2025-12-13T12:00Z")
    world = start_recorded_world(given.folder, _RunningFrom(until), given.port)
    print(world.base_url, flush=True)
    try:
        world.wait()
    except KeyboardInterrupt:
        world.stop()


if __name__ == "__main__":
    main()
