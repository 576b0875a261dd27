"""The Hugging Face Hub through its own client: its address, and its errors in our words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from autods.core.credentials import HUB, HUB_LOG_IN
from autods.errors import AutodsError, CredentialsMissing, RulesNotAccepted, Unreachable

AGAIN = "Check the network and HF_ENDPOINT, then run the same command again"


def endpoint() -> str:
    """Return the address of the Hub; ``HF_ENDPOINT`` names another one."""
    return os.environ.get("HF_ENDPOINT", HUB).rstrip("/")


@contextmanager
def asking_hub(
    repository: str, kept: str, absent: AutodsError, step: str = f"{AGAIN}."
) -> Iterator[None]:
    """Turn what the client raises into our errors.

    ``kept`` says what happened to the data, ``absent`` is raised for a repository that is not there
    or is not shown, ``step`` is done when the Hub does not answer. `RevisionNotFoundError` passes.
    """
    from huggingface_hub import errors

    place = f"{endpoint()}/datasets/{repository}"
    try:
        yield
    except errors.GatedRepoError:
        raise RulesNotAccepted(
            f"the Hub wants the conditions of {repository} accepted, see {place}; {kept}.",
            f"Ask for access at {place}. Then: {HUB_LOG_IN}",
            place,
        ) from None
    except errors.RepositoryNotFoundError:
        raise absent from None
    except errors.LocalTokenNotFoundError:
        raise CredentialsMissing(
            f"the Hub wants a token for {repository}, and none was found; {kept}.", HUB_LOG_IN
        ) from None
    except (AutodsError, errors.RevisionNotFoundError):
        raise
    except Exception as error:  # of which HTTP library depends on the version of the client
        cause = " ".join(str(error).split())[:160] or type(error).__name__
        if getattr(getattr(error, "response", None), "status_code", None) in (401, 403):
            raise CredentialsMissing(
                f"the Hub refuses {repository}: {cause}; {kept}.",
                f"The token needs the right to do this there. {HUB_LOG_IN}",
            ) from None
        raise Unreachable(
            f"the Hub did not answer for {repository}: {cause}; {kept}.", step
        ) from None
