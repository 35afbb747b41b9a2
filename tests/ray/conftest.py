"""One Ray Serve for every test here: starting and stopping it takes longer than most of them."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from ray import serve


@pytest.fixture(scope="session")
def serving(ray_cluster: Any) -> Iterator[str]:
    """A Serve that runs nothing yet; the address where its HTTP answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()
