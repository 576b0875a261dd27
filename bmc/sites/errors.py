"""What can be wrong with files that travel between sites and a centre, one class per cause."""

from __future__ import annotations

from autods.errors import AutodsError


class SiteFileDamaged(AutodsError):
    """A base or message is not what ``bmc-stream`` wrote: cut short, changed, or something else.

    Copy the file again from where it was written; nothing of it was used.
    """


class ForeignMessage(AutodsError):
    """A message belongs to another base: of another method, configuration, stream or encoder.

    Consolidate it with the base that it was made for, or make a new one from this base.
    """


class LateMessage(AutodsError):
    """A message was made from an older base, or its task is learned already.

    Leave it out; for a task that is still to be learned, train the expert again from this base.
    """


class DoubledMessage(AutodsError):
    """There are two messages about one task, where one is expected.

    Leave one of them out.
    """


class MessagesMissing(AutodsError):
    """A group cannot be consolidated, since tasks of it have sent no message yet.

    Wait for the messages that are named, then consolidate all of them in one call.
    """
