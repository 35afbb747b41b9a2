"""The event bus's server, where no Redis is configured."""

from __future__ import annotations

import asyncio

from finsight import wiring
from finsight.domain.health import PartHealth, PartState
from finsight.settings import Settings

EMBEDDED_VALKEY = "embedded-valkey"


class EmbeddedValkey:
    """Runs a valkey-server and starts it again when it dies.

    The server dies with this actor's process; the actor that Ray builds in its
    place starts it again on the same port, with the same password and data.
    """

    def __init__(self, settings: Settings) -> None:
        self._server = wiring.open_valkey_server(settings)

    async def ensure_running(self) -> list[PartHealth]:
        """Start the server if it isn't being kept up already; say how it is."""
        self._server.start()
        problem = self._server.problem
        if problem is None:
            return [PartHealth(part=EMBEDDED_VALKEY, state=PartState.OK)]
        return [
            PartHealth(
                part=EMBEDDED_VALKEY,
                state=PartState.STARTING,
                detail=f"the event server {problem}",
            )
        ]

    async def server_pid(self) -> int | None:
        """The server's process, or None while there is none."""
        return self._server.pid

    async def stop(self) -> None:
        """Stop the server cleanly; return when it is gone."""
        await asyncio.to_thread(self._server.stop)
