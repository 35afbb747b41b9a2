"""Independent pieces of work: as Ray tasks where there is a cluster, else one after another."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from finsight.domain.errors import FinSightError

Shared = TypeVar("Shared")
Piece = TypeVar("Piece")
Found = TypeVar("Found")


def has_ray() -> bool:
    """Whether this process is connected to a Ray cluster already. Nothing is started."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def workers_on_a_node() -> int:
    """How many tasks of one processor each the connected cluster's largest node runs at a time."""
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return max([1, *(int(one["Resources"].get("CPU", 0)) for one in nodes if one["Alive"])])


def side_by_side(
    do: Callable[[Shared, Piece, int | None], Found],
    shared: Shared,
    pieces: Sequence[Piece],
    threads: int | None = None,
) -> Iterator[tuple[int, Found]]:
    """Do every piece; yield its place and what was found, in any order.

    `do` is given `shared` (which enters the object store once), a piece, and how many
    threads it may take: one as a Ray task, else `threads`. A lost worker's piece is done
    again. Whoever stops listening stops what is still under way.

    Raises: whatever `do` raises of ours.
    """
    if not has_ray() or len(pieces) < 2:
        for place, piece in enumerate(pieces):
            yield place, do(shared, piece, threads)
        return
    import ray
    from ray.exceptions import RayTaskError

    available: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    task: Any = ray.remote(do).options(num_cpus=1)
    reference = ray.put(shared)
    left = list(enumerate(pieces))[::-1]
    under_way: dict[Any, int] = {}
    try:
        while left or under_way:
            # One waits for every one that runs, so that no CPU does.
            while left and len(under_way) < 2 * max(1, int(available.get("CPU", 1))):
                place, piece = left.pop()
                under_way[task.remote(reference, piece, 1)] = place
            [done], _ = ray.wait(list(under_way), num_returns=1)
            place = under_way.pop(done)
            try:
                found: Found = ray.get(done)
            except RayTaskError as exc:
                if isinstance(exc.cause, FinSightError):
                    raise exc.cause from None
                raise
            yield place, found
    finally:
        for waiting in under_way:
            ray.cancel(waiting, force=False)
