"""Batch Model Consolidation and its comparison methods on feature streams.

The names in ``__all__`` are the public face; everything else may change between versions. Each
is loaded when it is first used, so importing the package is fast.

    import autods
    import bmc

    stream = autods.open_stream("synthetic", max_tasks=10)
    result = bmc.run(stream, method="bmc", epochs=3)
    table = bmc.compare("synthetic", ["bmc", "er", "slda"], orders=5, max_tasks=10)
"""

from autods.core.face import lazy_names
from autods.core.version import __version__

_HOMES = {
    "Config": "bmc.config",
    "METHODS": "bmc.methods",
    "Method": "bmc.methods",
    "Result": "bmc.report.result",
    "Run": "bmc.report.finished",
    "Table": "bmc.report.table",
    "compare": "bmc.verbs",
    "report": "bmc.report",
    "run": "bmc.verbs",
}
__all__ = ["__version__"]
__all__.extend(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
