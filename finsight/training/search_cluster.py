"""The Ray cluster that a search runs on: the one that is there, or one of its own."""

from __future__ import annotations

import logging
import os

import ray

from finsight.domain.errors import InvalidInput
from finsight.settings import NAMESPACE


def connect(cpus: float) -> float:
    """Join the cluster that RAY_ADDRESS names (as in a Ray job), else start one here.

    Returns how many CPUs it has. Raises: InvalidInput (fewer than a trial takes).
    """
    if not ray.is_initialized():
        if os.environ.get("RAY_ADDRESS"):
            ray.init(namespace=NAMESPACE, log_to_driver=False)
        else:
            here = os.cpu_count() or 1
            if cpus > here:
                raise _too_many(cpus, here)
            ray.init(
                address="local",
                num_cpus=here,
                namespace=NAMESPACE,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    available: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    found = available.get("CPU", 0.0)
    if cpus > found:
        raise _too_many(cpus, found)
    return found


def _too_many(asked: float, there: float) -> InvalidInput:
    return InvalidInput(
        f"a trial is to take {asked:g} CPUs and this Ray cluster has {there:g}: no trial "
        "could ever start; give it fewer"
    )
