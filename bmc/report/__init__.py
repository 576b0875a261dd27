"""The report of finished runs: a results table, figures, and one self-contained page."""

from bmc.report.groups import Group, group
from bmc.report.page import build_report
from bmc.report.relations import load_runs
from bmc.report.results import Run
from bmc.report.tables import results_csv, results_table

__all__ = ["Group", "Run", "build_report", "group", "load_runs", "results_csv", "results_table"]
