"""What `bmc.run` returns: a finished run that shows itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bmc.report.finished import Run, read_run
from bmc.report.groups import group
from bmc.report.table import results_table

if TYPE_CHECKING:
    from bmc.report.table import Table


class Result(Run):
    """A finished run whose folder is known, with its table and its report."""

    def table(self) -> Table:
        """Return the results table of this run alone; `bmc.report` makes one of several."""
        return results_table(group([self]))

    def report(self, out: Path | str = "report.html") -> Path:
        """Write the report of this run, one self-contained HTML page, and return its path."""
        from bmc.report.page import build_report

        assert self.path is not None  # `result_of` sets it
        return build_report([self.path], Path(out))

    def _repr_html_(self) -> str:
        return self.table().html()


def result_of(folder: Path) -> Result:
    """Read a finished run; errors as of `bmc.report.finished.read_run`."""
    return Result.model_validate(dict(read_run(folder)))
