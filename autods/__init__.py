"""AutoDS: image-classification datasets as streams of features.

The names in ``__all__`` are the public face; everything else may change between versions. Each
is loaded when it is first used, so importing the package is fast.

    import autods

    autods.fetch("flowers")                             # download and verify
    autods.extract("flowers", model="ViT-B-32")         # index, and extract features
    flowers = autods.load("flowers", "ViT-B-32.laion2b_s34b_b79k")
    stream = autods.open_stream("stream71", encoder="ViT-B-32.laion2b_s34b_b79k", order=3)
"""

from autods.core.face import lazy_names
from autods.core.version import __version__

_HOMES = {
    "AutodsError": "autods.errors",
    "Catalogue": "autods.manifest.catalogue",
    "DataRoot": "autods.core.root",
    "FeatureSet": "autods.streams.feature_set",
    "ImageSet": "autods.streams.image_set",
    "Stream": "autods.streams.stream",
    "StreamItem": "autods.manifest.stream",
    "StreamSpec": "autods.manifest.stream",
    "Task": "autods.streams.stream",
    "datasets": "autods.verbs",
    "errors": "autods.errors",
    "extract": "autods.verbs",
    "fetch": "autods.fetch",
    "index": "autods.index",
    "load": "autods.streams.load",
    "open_images": "autods.streams.images",
    "open_stream": "autods.streams.open",
    "synthetic_stream": "autods.streams.synthetic",
}
__all__ = ["__version__"]
__all__.extend(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
