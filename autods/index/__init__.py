"""The sample index: one row per image, with labels and splits.

The package is also the verb: ``autods.index("flowers")`` is `autods.verbs.index`.
"""

from autods.core.face import make_callable

make_callable(__name__, "autods.verbs")
