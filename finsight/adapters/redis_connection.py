"""How the adapters speak to a Redis 7+ or Valkey, and what its errors mean."""

from collections.abc import Iterator
from contextlib import contextmanager

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import AuthenticationError, ConnectionError, RedisError, TimeoutError

from finsight.domain.errors import Misconfigured, StoreUnavailable

ANSWER_WITHIN_S = 5.0
"""Longer than any blocking read of ours waits; a server silent for so long is hung."""


def connect(url: str) -> Redis:
    """Return a client that connects when first used and again after each failure.

    Answers are bytes: one event that isn't UTF-8 must not break the reading of others.

    Raises:
        Misconfigured: `url` is not of the form redis://:password@host:port/0.
    """
    # A lost connection is tried again at once, which hides a restart; a silent server
    # is not, because each try would take `ANSWER_WITHIN_S`.
    again = Retry(ExponentialWithJitterBackoff(cap=0.2, base=0.05), 3, (ConnectionError,))
    try:
        return Redis.from_url(
            url,
            socket_timeout=ANSWER_WITHIN_S,
            socket_connect_timeout=ANSWER_WITHIN_S,
            retry=again,
        )
    except ValueError as exc:
        raise Misconfigured(
            "the Redis address is not of the form redis://:password@host:port/0"
        ) from exc


@contextmanager
def redis_errors_translated() -> Iterator[None]:
    """Turn redis-py's errors into `StoreUnavailable`, with a message that says what to do."""
    try:
        yield
    except AuthenticationError as exc:
        raise StoreUnavailable(
            f"the event server refused our password; check the Redis address ({exc})"
        ) from exc
    except TimeoutError as exc:
        raise StoreUnavailable(f"the event server did not answer in time ({exc})") from exc
    except ConnectionError as exc:
        raise StoreUnavailable(f"the event server can't be reached ({exc})") from exc
    except RedisError as exc:
        raise StoreUnavailable(f"the event server refused the command ({exc})") from exc
