"""Ray's own client of its Jobs API, with a limit to every wait and messages that say what to do."""

import asyncio
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from clusters.core.job import JobError
from clusters.core.timeouts import call_within
from clusters.ray.upload import RAY_MISSING

TIMEOUT = 30.0  # seconds for an answer
TOKEN = (
    "give the cluster's token: export RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH=FILE with a file only you can read "
    "(or put it into ~/.ray/auth_token)"
)


def ask(address: str, call: Callable[[Any], Any], seconds: float | None = None) -> Any:
    """Return what a call of the cluster's client returns.

    Args:
        address: The address of the cluster's dashboard.
        call: What to call with the client.
        seconds: The time that it may take; by default TIMEOUT.

    Raises:
        JobError: Ray is not installed, or the cluster does not answer or refuses.
    """
    try:
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise JobError(RAY_MISSING) from error
    with client_errors(address):
        who = f"the Ray cluster at {without_password(address)}"
        return call_within(seconds or TIMEOUT, who, lambda: call(JobSubmissionClient(address)))


def stream_logs(client: Any, id: str) -> Iterator[str]:
    """Yield the pieces of text that the client's asynchronous generator yields."""
    with asyncio.Runner() as runner:
        pieces = client.tail_job_logs(id)
        try:
            while True:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)  # of what Ray hands to aiohttp
                    text = runner.run(_next(pieces))
                yield text
        except StopAsyncIteration:
            return
        finally:
            runner.run(pieces.aclose())


@contextmanager
def client_errors(address: str) -> Iterator[None]:
    """Turn the client's errors into JobErrors that say what to do."""
    import aiohttp
    import requests
    from ray.exceptions import AuthenticationError

    where = without_password(address)
    try:
        yield
    except AuthenticationError as error:
        raise JobError(f"the Ray cluster at {where} does not let you in ({_first_line(error)}): {TOKEN}") from error
    except (ConnectionError, requests.RequestException, aiohttp.ClientError) as error:
        raise JobError(
            f"the Ray cluster at {where} gives no answer ({_first_line(error)}): give the address of its dashboard"
        ) from error
    except JobError:
        raise
    except (RuntimeError, ValueError, TypeError) as error:  # the latter two come from the client's own checks
        raise JobError(f"the Ray cluster at {where} refuses: {_first_line(error)}") from error


def without_password(address: str) -> str:
    """Return an address without its user name and password."""
    return re.sub(r"//[^/@]*@", "//...@", address)


async def _next(pieces: Any) -> str:
    return await anext(pieces)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
