"""AutoDS: image-classification datasets as streams of features.

Fetch from manifests, index, extract with open_clip into HDF5 shards, open as
task-incremental or class-incremental streams. Nothing heavy is imported here.
"""

from autods.core.version import __version__

__all__ = ["__version__"]
