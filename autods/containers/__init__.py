"""Read members in place from folders, zip and tar files; convert compressed tars once.

Nothing is unpacked into many files. `open_container` lists a dataset's file while it
is indexed; `MemberReader` reads single members afterwards, knowing only the index.
"""

from autods.containers.base import NESTED, Container, Member
from autods.containers.opening import open_container
from autods.containers.reader import MemberReader

__all__ = ["NESTED", "Container", "Member", "MemberReader", "open_container"]
