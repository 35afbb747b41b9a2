"""Ending an actor so that the next test does not meet it."""

import os
from typing import Any

import psutil


def end(ray: Any, actor: Any) -> None:
    """Kill `actor` and wait until its process is gone.

    `ray.kill` returns at once, and now and then the process lives on for five seconds: one
    that reads the event server under the same name would take the next test's events.
    """
    pid = int(ray.get(actor.__ray_call__.remote(lambda _: os.getpid()), timeout=60))
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        process = None
    ray.kill(actor)
    if process is not None:
        process.wait(timeout=60)
