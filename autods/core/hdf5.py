"""Arrays of HDF5 files that are not ours: never from other files, never by a link."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import h5py


class Elsewhere(ValueError):
    """The values of an array lie in another file, or behind a link."""


def own_array(file: h5py.File, name: str) -> h5py.Dataset | None:
    """Return an array whose values lie in this very file, ``None`` if there is no such array.

    Raises `Elsewhere` if its name is a link on the way, or other files hold its values.
    """
    import h5py

    found: Any = file
    for part in name.strip("/").split("/"):
        if not isinstance(found, h5py.Group) or part not in found:
            return None
        if not isinstance(found.get(part, getlink=True), h5py.HardLink):
            raise Elsewhere(f"'{name}' is a link to somewhere else")
        found = found[part]
    if not isinstance(found, h5py.Dataset):
        return None
    if found.is_virtual or found.external:
        raise Elsewhere(f"the values of '{name}' lie in other files")
    return found
