"""The port that a Ray which is started here starts jobs through."""

from __future__ import annotations

from inspect import signature
from typing import Any


def take_any_agent_port() -> None:
    """Let the job agent of a Ray that is started here listen on any free port.

    Its usual one belongs to whichever Ray was first on this machine, and the second then has
    no agent that could start a job. `ray start` has an option for it, `ray.init` of Ray 2.60
    has none: it takes the default of the class below.
    """
    from ray._private.parameter import RayParams

    start: Any = RayParams.__init__
    named = [p for p in signature(start).parameters.values() if p.default is not p.empty]
    start.__defaults__ = tuple(
        0 if p.name == "dashboard_agent_listen_port" else p.default for p in named
    )
