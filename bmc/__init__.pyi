"""What editors and type checkers see of the face; a test compares it with the real one."""

from autods.core.version import __version__ as __version__
from bmc.config import Config as Config
from bmc.methods import METHODS as METHODS
from bmc.methods import Method as Method
from bmc.report.finished import Run as Run
from bmc.report.result import Result as Result
from bmc.report.table import Table as Table
from bmc.verbs import compare as compare
from bmc.verbs import report as report
from bmc.verbs import run as run

__all__ = [
    "METHODS",
    "Config",
    "Method",
    "Result",
    "Run",
    "Table",
    "__version__",
    "compare",
    "report",
    "run",
]
