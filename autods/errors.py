"""Every error a user can meet, one class per cause, under one base class.

A message says what was expected, what came, what happened to the data and what
to do next. The command line prints it without a traceback and exits with
``exit_code``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Self

FETCH_AGAIN = (
    "'autods verify' tells whether it is the published file: if not, delete it and fetch the "
    "dataset again; if so, correct the manifest or repack the file."
)


# What could command a terminal: control characters but tab and newline, and changes of direction.
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    r"""Return a text whose control characters are written out, as ``\x1b``."""
    return _COMMANDS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class AutodsError(Exception):
    """Base of all errors that are reported to a user as one message."""

    exit_code = 1

    def __str__(self) -> str:
        """Return the message; what files and servers have put into it commands no terminal."""
        return visible(super().__str__())

    @classmethod
    def at(
        cls, where: str, expected: str, got: object, correct: str = "", *, step: str = ""
    ) -> Self:
        """Return the error of content that was not indexed, with all four parts of its message.

        Parameters
        ----------
        where
            File, line or member.
        correct
            Key of the manifest to correct, which is the usual next step.
        step
            Another next step.
        """
        in_key = f"'{correct}' in " if correct else ""
        step = step or f"Correct {in_key}the manifest."
        return cls(f"{where}: expected {expected}, got {got}; nothing was indexed. {step}")


class UsageError(AutodsError):
    """The request itself is wrong: an option, a name or a combination.

    Correct the command; nothing was done. ``COMMAND --help`` lists what there is.
    """

    exit_code = 2


class UnknownName(UsageError):
    """A name that no registry knows; the message offers the nearest ones.

    Take one of the names offered, or list them: ``autods list``, ``bmc-stream methods``.
    """


class DatasetsFailed(AutodsError):
    """Some of several datasets failed; the others are done.

    Mend what ``failures`` says of each, then run the same call again.

    Attributes
    ----------
    failures
        The error of each dataset that failed, by its name.
    outcomes
        What the call would have returned, for the datasets that are done.
    """

    def __init__(self, failures: Mapping[str, AutodsError], outcomes: object) -> None:
        lines = (f"{name}: {error}" for name, error in failures.items())
        super().__init__("\n".join(["Datasets failed; the others are done.", *lines]))
        self.failures, self.outcomes = dict(failures), outcomes


class ManifestError(AutodsError):
    """A manifest or stream file does not follow the schema.

    Correct the line that the message names; `docs/manifests.md` describes every key.
    """


class UnsafePath(AutodsError):
    """A path from a manifest or an archive would leave the folder it belongs to.

    Correct the manifest, or do not trust this archive.
    """


class FetchError(AutodsError):
    """Files of a dataset could not be fetched from any of their mirrors.

    As text it is the message, and below it the next step.

    Attributes
    ----------
    cause
        One or two words for tables; each subclass has its own.
    message
        What was expected, what came and what is kept, without the next step.
    next_step
        What the user does next; ``NAME`` stands for the dataset, so that datasets with the
        same step can share it.
    url
        Where the next step is done, ``""`` if nowhere in particular.
    dataset
        What ``NAME`` is, ``""`` if that is not known.
    again
        Seconds after which the same fetch may succeed though nobody did anything: those that
        a host asked for, 0 where none did. ``None``: waiting does not help.
    """

    cause = "failed"
    usual_step = (
        "Run the same command again later, add a --mirror that has the file, or hand it over "
        "with 'autods import NAME FILE'."
    )

    def __init__(
        self,
        message: str,
        next_step: str = "",
        url: str = "",
        *,
        dataset: str = "",
        again: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step or self.usual_step
        self.url, self.dataset, self.again = url, dataset, again

    def __str__(self) -> str:
        return visible(f"{self.message}\n{step_for(self.dataset, self.next_step)}")


def step_for(dataset: str, step: str) -> str:
    """Return a next step with the dataset's name in its commands."""
    return re.sub(r"\bNAME\b", dataset or "NAME", step)


class CredentialsMissing(FetchError):
    """A host gives the file only to those who show a token, and there is none that it takes."""

    cause = "needs credentials"
    usual_step = "Get a token from the host and put it where its own tools look for it."


class RulesNotAccepted(FetchError):
    """A host or a licence wants its rules accepted first; ``url`` says where."""

    cause = "needs acceptance"
    usual_step = "Accept the rules on the page of the dataset, then run the same command again."


class QuotaExceeded(FetchError):
    """A host has given the file too often, or answered us too often, and wants a pause."""

    cause = "quota"
    usual_step = "Run the same command again in a day: the host's download quota is used up."


class ChecksumMismatch(FetchError):
    """A file arrived whole but is not the file the manifest describes."""

    cause = "corrupt"
    usual_step = (
        "Its mirrors hold another file: add a --mirror that has the published one, or hand it "
        "over with 'autods import NAME FILE'."
    )


class DiskFull(FetchError):
    """The disk, or the user's share of it, holds no more."""

    cause = "disk full"
    usual_step = "Free space or choose another --root, then run the same command again."


class Unreachable(FetchError):
    """A host could not be reached, or its connections broke off again and again."""

    cause = "unreachable"
    usual_step = "Check the network ('autods doctor'), then run the same command again."


class LinkGone(FetchError):
    """The host answers, but the file is not there any more."""

    cause = "gone"
    usual_step = (
        "Look for the file on the homepage ('autods info NAME') and hand it over with "
        "'autods import NAME FILE', or add a --mirror that has it."
    )


class ContainerError(AutodsError):
    """An archive is missing, damaged, or of a kind that cannot be read.

    Fetch the archive again (``autods verify`` says which), or have it repaired.
    """


class DamagedMember(ContainerError):
    """The data of one member is damaged; the rest of its archive can be read.

    Fetch the archive again; if the published one is damaged, leave the member out.
    """


class ToolMissing(ContainerError):
    """An archive can only be unpacked by a system tool, and none of them is installed.

    Install one of the tools that the message names; ``autods doctor`` looks for them.
    """


class UnsafePickle(AutodsError):
    """A pickle asks for code where only data is expected.

    Do not trust this file: a pickle of data needs no code.
    """


class LayoutError(AutodsError):
    """An archive is readable but is not laid out as its manifest says.

    Compare the archive with the ``layout`` of its manifest at the place named; correct one.
    """


class IndexMissing(AutodsError):
    """A step needs the sample index of a dataset that was not indexed yet.

    Run ``autods index NAME``.
    """


class ImagesMissing(AutodsError):
    """Features are at hand, but not the images behind them: they were imported or generated.

    Extract the features from a dataset with a manifest, if images are needed.
    """


class TooManyUnreadable(AutodsError):
    """More than 0.5 % of the images of a dataset, and more than one, could not be decoded.

    Fetch the archive again; ``autods audit NAME`` lists the images and why.
    """


class EncoderError(AutodsError):
    """An encoder cannot be built as asked: weights, QuickGELU, precision.

    Correct model, weights or precision as the message says.
    """


class ClusterError(AutodsError):
    """A cluster cannot do the work: out of reach, not set up alike, or its workers keep dying.

    Mend the cluster, then run the same command again: what is finished is kept.
    """


class WorkerLost(AutodsError):
    """A worker process of this machine ended without an answer: killed, or crashed.

    Run the same command again with more free memory or fewer workers.
    """


class FeatureMismatch(AutodsError):
    """Features of another encoder, manifest or format stand where new ones should go.

    Extract again into another folder or root, or remove the features that are there.
    """


class FeaturesMissing(AutodsError):
    """A stream needs features that were not extracted or imported yet.

    Run ``autods extract`` or ``autods import-features``; ``autods status`` shows what is here.
    """


class StoreError(AutodsError):
    """A feature shard is incomplete, damaged or of an unknown format version.

    Remove the shard that is named and run ``autods extract`` again: it makes that one.
    """


class Busy(AutodsError):
    """Another process holds the lock of the files this command would write.

    Wait for the process that the message names, or end it, then run the same command again.
    """
