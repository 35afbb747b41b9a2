"""Every error FinSight raises on purpose, and what a caller should do about it.

    FinSightError
    |-- InvalidInput         the caller's mistake; change the request           HTTP 422
    |   `-- LookedAhead      a model would learn from its own future            HTTP 422
    |-- NotFound             no such symbol, article, model or part             HTTP 404
    |-- SourceUnavailable    an upstream is down; try again later               HTTP 503
    |   `-- SourceBusy       an upstream asked us to slow down                  HTTP 503
    |-- SourceRefused        an upstream said no; trying again won't help       HTTP 502
    |-- StoreUnavailable     our own storage is down; try again later           HTTP 503
    |   `-- RunKept          a trained model waits here to be registered        HTTP 503
    |-- ModelUnavailable     no model can answer now; try again later           HTTP 503
    `-- Misconfigured        a setting is wrong; mend it and start again        HTTP 500

Adapters turn vendor errors into these (`raise ... from exc`); nothing above an
adapter ever names a vendor's exception. The HTTP column is applied in one
place, `finsight/deployments/http_errors.py`. Every message is plain English and
says what was wrong, what was expected and, where it helps, what to do.
"""


class FinSightError(Exception):
    """Anything FinSight raises on purpose. Holds one message, so that it pickles."""


class InvalidInput(FinSightError):
    """The caller's mistake: the request must change."""


class LookedAhead(InvalidInput):
    """Something later than it may be was about to be used: the data must be joined otherwise."""


class NotFound(FinSightError):
    """The thing asked for does not exist."""


class SourceUnavailable(FinSightError):
    """An upstream is down or unreachable: the same call may work later."""


class SourceBusy(SourceUnavailable):
    """An upstream asked us to slow down.

    `retry_after_s` is the pause it asked for, in seconds, or None if it named none.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s)
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return str(self.args[0])


class SourceRefused(FinSightError):
    """An upstream said no, and would again."""


class StoreUnavailable(FinSightError):
    """Our own storage did not answer; nothing was stored."""


class RunKept(StoreUnavailable):
    """The model registry took no run; it is kept on this machine and can be sent later."""


class ModelUnavailable(FinSightError):
    """No model can answer at the moment."""


class Misconfigured(FinSightError):
    """A setting is wrong or missing."""
