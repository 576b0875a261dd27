"""The HTML page: gathers what it shows from the runs, and fills the template.

Runs of several streams get a section for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from markupsafe import Markup

from autods.core.files import atomic
from autods.core.output import counted
from autods.pages.palette import variables
from bmc.report.answers import answers_of, safe_json
from bmc.report.charts import SCENARIOS, task_rows
from bmc.report.columns import MISSING, PERCENT
from bmc.report.figures import Figure, any_task, figures, task_figures
from bmc.report.finished import Run, TaskInfo
from bmc.report.groups import MOST, Group, drawn, group
from bmc.report.intervals import tests_of
from bmc.report.load import load_runs, sections, shared_note
from bmc.report.looks import entries
from bmc.report.resampling import CONFIDENCE
from bmc.report.settings import commands, compare, finished, provenance_of, side_by_side
from bmc.report.style import PAGE
from bmc.report.table import group_name, matrix_csv, repeats, results_table

OPEN = 4  # groups whose tasks are shown at once; those of the others are folded
RUNTIME = "window.vegaEmbed = vegaEmbed;"  # what the page's script calls
MATRICES = 30  # runs whose matrices the page carries; of more, only those that are drawn


class Drawing(NamedTuple):
    """A figure's place on the page: ``number`` counts the page's charts."""

    figure: Figure
    number: int


class Charts:
    """The charts of a page, which its script draws where they are named by number."""

    def __init__(self) -> None:
        self.specs: list[dict[str, Any]] = []

    def add(self, figure: Figure) -> Drawing:
        """Add the chart of a figure."""
        self.specs.append(figure.spec(PAGE))
        return Drawing(figure, len(self.specs) - 1)


def build_report(
    run_dirs: Sequence[Path], out: Path, notes: Sequence[str] = (), root: Path | None = None
) -> Path:
    """Write one HTML page about finished runs; it needs no other file and no network.

    Runs of the same method and configuration are repeats: the page shows their mean and
    standard deviation. Runs of several streams get a section for each. The same runs give the
    same bytes, in whatever order they are named. ``notes`` are further sentences above the
    results; ``root`` is the data root where images of wrong answers are looked for, by default
    that of ``AUTODS_ROOT``. Raises `UsageError` as `load_runs` and `group` do.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    runs = load_runs(run_dirs)
    environment = Environment(
        loader=PackageLoader("bmc.report", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    charts, written, data = Charts(), [], {}
    by_stream = sections(runs) or {(): []}
    for number, members in enumerate(by_stream.values(), start=1):
        content = _content(group(members), charts, f"s{number}-", root)
        section = environment.get_template("section.html.jinja").render(
            **content, notes=notes, top=1 if len(by_stream) == 1 else 2
        )
        written.append((_section_title(content), Markup(section)))
        answers = content["answers"]
        data[f"s{number}"] = {
            "tasks": content["task_rows"], "matrices": answers.matrices if answers else [],
        }  # fmt: skip
    page = environment.get_template("page.html.jinja").render(
        title=written[0][0] if len(written) == 1 else f"Results on {len(written)} streams",
        sections=written, data=safe_json({"charts": charts.specs, "sections": data}),
        light=variables(dark=False), dark=variables(dark=True),
        runtime=_runtime(),
    )  # fmt: skip
    with atomic(out) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")
    return out


@cache
def _runtime() -> Markup:
    """Return the script that draws charts: Vega, Vega-Lite and vega-embed, bundled in seconds."""
    from vl_convert import javascript_bundle

    return Markup(javascript_bundle(RUNTIME).replace("</script", "<\\/script"))


def _section_title(content: dict[str, Any]) -> str:
    """Say in a line what a section is about."""
    groups, first = content["groups"], content["first"]
    noun = "method" if len(groups) == content["methods"] else "configuration"
    tasks, some = counted(len(first.tasks), "task"), counted(len(groups), noun)
    return f"{first.stream}, {tasks}: {some}, {first.scenario}"


def _content(
    groups: Sequence[Group], charts: Charts, prefix: str, root: Path | None
) -> dict[str, Any]:
    """Gather what the template names of one section; ``prefix`` begins its anchors."""
    first = groups[0].first
    scenario = first.scenario
    runs = [run for g in groups for run in g.runs]
    shown, everything = drawn(groups), entries(groups)
    full = results_table(groups, None)
    looks = {e.group.first.setup: e.look for e in everything}
    shown_entries = [e for e in everything if e.group in shown]
    tests = tests_of(groups, scenario)
    return {
        "id": prefix,
        "groups": groups,
        "shown": shown,
        "methods": len({run.method for run in runs}),
        "first": first,
        "scenario": scenario,
        "scenario_title": SCENARIOS.get(scenario, scenario).capitalize(),
        "classes": sum(task.classes for task in first.tasks),
        "train": sum(task.train for task in first.tasks),
        "test": sum(task.test for task in first.tasks),
        "same_tasks": len({frozenset(task.name for task in run.tasks) for run in runs}) == 1,
        "runs": runs,
        "orders": list({run.order: run for run in runs}.values()),
        "verdict": _verdict(groups, scenario),
        "repeats": repeats(groups),
        "shared_note": shared_note(runs),
        "tests": tests,
        "confidence": f"{CONFIDENCE:.0%}".replace("%", "\N{NO-BREAK SPACE}%"),
        "short": results_table(groups),
        "full": full,
        "name": group_name,
        "swatch": lambda g: looks[g.first.setup].swatch,
        "entries": everything,
        "shown_entries": shown_entries,
        "answers": answers_of(groups, shown_entries, root),
        "datasets": _by_dataset(groups, scenario),
        "any_task": charts.add(any_task(shown_entries)),
        "task_rows": task_rows(shown_entries, scenario),
        "drawings": {f.name: charts.add(f) for f in figures(everything, shown_entries)},
        "method_rows": [
            (e.group, [charts.add(f) for f in task_figures(e, scenario)]) for e in shown_entries
        ],
        "task_table": _task_table(shown, scenario),
        "open": OPEN,
        "most": MOST,
        "results_csv": _data_link(full.csv()),
        **_made_with(groups, shown),
    }  # fmt: skip


def _made_with(groups: Sequence[Group], shown: Sequence[Group]) -> dict[str, Any]:
    """Gather settings, provenance and matrices, and what repeats the runs."""
    named = [(_run_name(g, run), run) for g in groups for run in g.runs]
    carried = named if len(named) <= MATRICES else [(_run_name(g, g.first), g.first) for g in shown]
    runs = [run for _, run in named]
    return {
        "finished": finished(runs),
        "commands": commands(runs),
        "csv": [(label, _csv_links(run)) for label, run in carried],
        "all_matrices": len(carried) == len(named),
        "settings": side_by_side(groups),
        "provenance": compare(provenance_of(named)),
        "versions": compare([(label, run.versions) for label, run in named]),
    }


def _run_name(g: Group, run: Run) -> str:
    return f"{g.label}, {run.order}, run seed {run.run_seed} ({run.folder})"


def _verdict(groups: Sequence[Group], scenario: str) -> dict[str, Any]:
    """Say who won, who came second, and what the references reached."""
    scored: dict[str, list[tuple[Group, str]]] = {"ranked": [], "references": []}
    for g in groups:
        if stat := g.metric(scenario, "final_mean"):
            text = PERCENT.text(stat.mean, stat.sd or None)
            spaced = text.replace("±", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")
            scored["references" if g.reference else "ranked"].append((g, spaced))
    return scored


def _task_table(groups: Sequence[Group], scenario: str) -> list[tuple[TaskInfo, list[str]]]:
    """Per task of the first order: final class-il and task-il accuracy and forgetting."""
    columns = [
        values
        for g in groups
        for values in (
            g.by_task("final", "class-il"), g.by_task("final", "task-il"),
            g.by_task("forgetting", scenario),
        )
    ]  # fmt: skip
    return [
        (task, [f"{v[task.name] * 100:.1f}" if task.name in v else MISSING for v in columns])
        for task in groups[0].first.tasks
    ]


def _by_dataset(groups: Sequence[Group], scenario: str) -> list[tuple[str, str, list[str]]]:
    """Per dataset: name, test samples, and the final accuracy of each group over its samples."""
    tasks: dict[str, list[TaskInfo]] = {}
    for task in groups[0].first.tasks:
        tasks.setdefault(task.dataset, []).append(task)
    finals = [g.by_task("final", scenario) for g in groups]
    lines = []
    for name, of in tasks.items():
        accuracies = []
        for final in finals:
            measured = [task for task in of if task.name in final]
            total = sum(task.test for task in measured)
            right = sum(task.test * final[task.name] for task in measured)
            accuracies.append(f"{100 * right / total:.1f}" if total else MISSING)
        lines.append((name, f"{sum(task.test for task in of):,}", accuracies))
    return lines


def _data_link(content: str) -> str:
    return "data:text/csv;charset=utf-8," + quote(content, safe=",.-_~")


def _csv_links(run: Run) -> list[tuple[str, str, str]]:
    """Return (scenario, file name, address) of each accuracy matrix of a run."""
    return [
        (scenario, f"R-{run.folder}-{scenario}.csv", _data_link(matrix_csv(run, scenario)))
        for scenario in run.R
    ]
