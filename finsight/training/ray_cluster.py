"""The Ray cluster that a training runs on, and what its workers have to say."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty

import ray
from ray.util.queue import Queue

from finsight.settings import NAMESPACE

Say = Callable[[str], None]
"""Shows one line to whoever started the run; a worker on any machine may call it."""

_LISTENED_S = 1.0
_LAST_WORDS_S = 10.0


def join_cluster(cpus_here: int, *, dashboard: bool = True) -> float:
    """Join the cluster that RAY_ADDRESS names (as in a Ray job), else start one here.

    One that this process is in already stays as it is. One started here has `cpus_here` CPUs,
    and a dashboard because Ray Train asks its State API whether its controller lives: where
    there is none it takes the controller for dead after some minutes, and ends the workers.
    Returns how many CPUs there are. What Ray says to itself is in its log files.
    """
    if not ray.is_initialized():
        level = logging.ERROR
        if os.environ.get("RAY_ADDRESS"):
            ray.init(namespace=NAMESPACE, log_to_driver=False, logging_level=level)
        else:
            joined = ray.init(
                address="local",
                num_cpus=cpus_here,
                namespace=NAMESPACE,
                include_dashboard=dashboard,
                dashboard_host="127.0.0.1",
                log_to_driver=False,
                logging_level=level,
            )
            if dashboard and joined.dashboard_url:
                print(f"Ray dashboard: http://{joined.dashboard_url}", flush=True)
    available: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return available.get("CPU", 0.0)


@contextmanager
def workers_heard() -> Iterator[Say]:
    """Print here, once and in order, what workers say by what this gives."""
    lines = Queue(actor_options={"num_cpus": 0, "max_restarts": -1})
    ended = threading.Event()

    def listen() -> None:
        # Asked after its end, Ray would start another cluster by itself.
        while ray.is_initialized():
            try:
                print(lines.get(timeout=_LISTENED_S), flush=True)
            except Empty:
                if ended.is_set():
                    return
            except ray.exceptions.RayError:
                # The cluster is gone, and with it whoever might say something.
                return

    listener = threading.Thread(target=listen, name="workers-heard", daemon=True)
    listener.start()
    try:
        yield lines.put
    finally:
        ended.set()
        listener.join(_LAST_WORDS_S)
        if ray.is_initialized():
            lines.shutdown(force=True)
