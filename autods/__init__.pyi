"""What editors and type checkers see of the face; a test compares it with the real one."""

from autods import errors as errors
from autods.core.root import DataRoot as DataRoot
from autods.core.version import __version__ as __version__
from autods.errors import AutodsError as AutodsError
from autods.manifest.catalogue import Catalogue as Catalogue
from autods.manifest.stream import StreamItem as StreamItem
from autods.manifest.stream import StreamSpec as StreamSpec
from autods.streams.feature_set import FeatureSet as FeatureSet
from autods.streams.image_set import ImageSet as ImageSet
from autods.streams.images import open_images as open_images
from autods.streams.load import load as load
from autods.streams.open import open_stream as open_stream
from autods.streams.stream import Stream as Stream
from autods.streams.stream import Task as Task
from autods.streams.synthetic import synthetic_stream as synthetic_stream
from autods.verbs import datasets as datasets
from autods.verbs import extract as extract
from autods.verbs import fetch as fetch
from autods.verbs import index as index

__all__ = [
    "AutodsError",
    "Catalogue",
    "DataRoot",
    "FeatureSet",
    "ImageSet",
    "Stream",
    "StreamItem",
    "StreamSpec",
    "Task",
    "__version__",
    "datasets",
    "errors",
    "extract",
    "fetch",
    "index",
    "load",
    "open_images",
    "open_stream",
    "synthetic_stream",
]
