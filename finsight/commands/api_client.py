"""The running platform, asked over HTTP."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import httpx

from finsight.domain.errors import (
    FinSightError,
    InvalidInput,
    NotFound,
    SourceRefused,
    SourceUnavailable,
    StoreUnavailable,
)

_ERRORS: dict[int, type[FinSightError]] = {
    404: NotFound,
    422: InvalidInput,
    502: SourceRefused,
    503: StoreUnavailable,
}


class NotRunning(FinSightError):
    """Nothing answers at the platform's address."""


class ApiClient:
    """Asks the gateway at `url`; its problems become the errors they began as."""

    def __init__(self, url: str, timeout_s: float = 60.0) -> None:
        self.url = url.rstrip("/")
        self._client = httpx.Client(base_url=self.url, timeout=timeout_s, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def get(self, path: str, **params: Any) -> Any:
        """Return the JSON answer. Raises: NotRunning, FinSightError."""
        given = {name: value for name, value in params.items() if value is not None}
        return self._send("GET", path, params=given)

    def post(self, path: str, body: Any) -> Any:
        """Return the JSON answer. Raises: NotRunning, FinSightError."""
        return self._send("POST", path, json=body)

    def readiness(self) -> dict[str, Any]:
        """Return `/readyz` whatever its status. Raises: NotRunning."""
        answer = self._request("GET", "/readyz")
        document = answer.json() if "json" in answer.headers.get("content-type", "") else {}
        return {"ready": answer.status_code == 200, **document}

    def is_running(self) -> bool:
        """Whether a gateway answers there."""
        try:
            return self._request("GET", "/healthz").status_code == 200
        except FinSightError:
            return False

    def _send(self, method: str, path: str, **request: Any) -> Any:
        answer = self._request(method, path, **request)
        if answer.is_success:
            return answer.json() if answer.content else None
        is_problem = "json" in answer.headers.get("content-type", "")
        detail = answer.json().get("detail") if is_problem else answer.text[:200]
        kind = _ERRORS.get(answer.status_code, SourceUnavailable)
        raise kind(str(detail or f"{path} answered {answer.status_code}"))

    def _request(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, **request)
        except httpx.ConnectError as exc:
            raise NotRunning(
                f"FinSight isn't answering at {self.url}; start it with `finsight up` or "
                "`finsight demo`, or set FINSIGHT_API_URL"
            ) from exc
        except httpx.HTTPError as exc:
            raise SourceUnavailable(f"{self.url}{path} broke off: {exc}") from exc
