"""Whether the platform is ready, part by part."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from finsight.domain.errors import FinSightError
from finsight.domain.health import PartHealth, PartState

NOT_READY = frozenset({PartState.STARTING, PartState.FAILED})
WELL = frozenset({PartState.OK, PartState.STOPPED})

Check = Callable[[], Awaitable[Sequence[PartHealth]]]
"""Answers how one or more parts are doing; a FinSightError means that its part failed."""


@dataclass(frozen=True)
class Readiness:
    """How every part is doing.

    Ready when no part that others need is starting or failed. A collector is none of
    those: with one feed refused or one symbol delisted, everything else is served.
    """

    parts: tuple[PartHealth, ...]

    @property
    def ready(self) -> bool:
        return not any(part.state in NOT_READY for part in self.parts if not part.is_collector)

    @property
    def degraded(self) -> bool:
        """Whether any part, a collector too, is less than well."""
        return any(part.state not in WELL for part in self.parts)


async def check_readiness(checks: Mapping[str, Check], timeout_s: float = 5.0) -> Readiness:
    """Run every check at once, none longer than `timeout_s`, and never raise for a part."""
    found = await asyncio.gather(*(_one(name, check, timeout_s) for name, check in checks.items()))
    return Readiness(tuple(part for parts in found for part in parts))


async def _one(name: str, check: Check, timeout_s: float) -> Sequence[PartHealth]:
    try:
        return await asyncio.wait_for(check(), timeout_s)
    except TimeoutError:
        detail = f"did not answer in {timeout_s:.0f} s"
        return [PartHealth(part=name, state=PartState.FAILED, detail=detail)]
    except FinSightError as exc:
        return [PartHealth(part=name, state=PartState.FAILED, detail=str(exc))]
