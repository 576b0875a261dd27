"""The report of finished runs: a results table, figures, and one self-contained page."""

from bmc.report.columns import results_csv, results_table
from bmc.report.groups import Group, group
from bmc.report.load import Run
from bmc.report.page import build_report
from bmc.report.relations import load_runs

__all__ = ["Group", "Run", "build_report", "group", "load_runs", "results_csv", "results_table"]
