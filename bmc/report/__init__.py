"""The report of finished runs: a results table, figures, and one self-contained page.

The package is also the verb: ``bmc.report("runs")`` is `bmc.verbs.report`.
"""

from autods.core.face import make_callable
from bmc.report.finished import Run
from bmc.report.groups import Group, group
from bmc.report.load import load_runs, sections
from bmc.report.page import build_report
from bmc.report.table import results_table

__all__ = ["Group", "Run", "build_report", "group", "load_runs", "results_table", "sections"]

make_callable(__name__, "bmc.verbs")
