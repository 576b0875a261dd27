"""Every error a user can meet, one class per cause, under one base class.

A message says what was expected, what came, what happened to the data and what
to do next. The command line prints it without a traceback and exits with
``exit_code``.
"""

from __future__ import annotations


class AutodsError(Exception):
    """Base of all errors that are reported to a user as one message."""

    exit_code = 1


class UsageError(AutodsError):
    """The request itself is wrong: an option, a name or a combination."""

    exit_code = 2


class UnknownName(UsageError):
    """A name that no registry knows; the message offers the nearest ones."""


class ManifestError(AutodsError):
    """A manifest or stream file does not follow the schema."""


class UnsafePath(AutodsError):
    """A path from a manifest or an archive would leave the folder it belongs to."""


class FetchError(AutodsError):
    """A file could not be fetched from any of its mirrors."""


class ChecksumMismatch(FetchError):
    """A file arrived whole but is not the file the manifest describes."""


class ContainerError(AutodsError):
    """An archive is missing, damaged, or of a kind that cannot be read."""


class DamagedMember(ContainerError):
    """The data of one member is damaged; the rest of its archive can be read."""


class LayoutError(AutodsError):
    """An archive is readable but is not laid out as its manifest says."""


class IndexMissing(AutodsError):
    """A step needs the sample index of a dataset that was not indexed yet."""


class TooManyUnreadable(AutodsError):
    """More than 0.5 % of the images of a dataset could not be decoded."""


class EncoderError(AutodsError):
    """An encoder cannot be built as asked: weights, QuickGELU, precision."""


class FeatureMismatch(AutodsError):
    """Features of another encoder, manifest or format stand where new ones should go."""


class FeaturesMissing(AutodsError):
    """A stream needs features that were not extracted or imported yet."""


class StoreError(AutodsError):
    """A feature shard is incomplete, damaged or of an unknown format version."""


class Busy(AutodsError):
    """Another process holds the lock of the files this command would write."""
