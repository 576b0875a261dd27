"""AutoDS: image-classification datasets as streams of features.

Fetch from manifests, index, extract with open_clip into HDF5 shards, open as
task-incremental or class-incremental streams. Nothing heavy is imported here.
"""

__version__ = "0.1.0"
