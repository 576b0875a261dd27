"""Read members in place from folders, zip and tar files; convert other archives once.

Nothing is unpacked into many files. `open_container` lists a dataset's file while it
is indexed; `MemberReader` reads single members afterwards, knowing only the index.
"""

from autods.containers.array_specs import ArrayImages
from autods.containers.base import NESTED, Member
from autods.containers.container import Container
from autods.containers.open import open_container
from autods.containers.reader import MemberReader

__all__ = ["NESTED", "ArrayImages", "Container", "Member", "MemberReader", "open_container"]
