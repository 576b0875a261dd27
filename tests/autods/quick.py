"""What makes the processes of tests quick; the fork server imports it last, for its workers.

No test cuts the power: nothing waits for the disk. And what was imported is no garbage.
"""

import gc
import os


def no_sync(_: object) -> None:
    """Leave it to the system when to write to the disk."""


os.fsync = no_sync
gc.collect()
gc.freeze()
