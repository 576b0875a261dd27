"""A notebook as a page: its text, its code, what it printed and drew.

python docs/build/notebook.py    # runs docs/examples/tour.ipynb anew, then writes the page
"""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOK = REPOSITORY / "docs" / "examples" / "tour.ipynb"
LINKS = ("](../", "](")  # the notebook lies one folder below the page


def notebook_pages() -> dict[str, str | bytes]:
    """Return the page and its pictures, by their paths below docs/."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    parts, pictures = [], {}
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source.replace(*LINKS))
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{NOTEBOOK.stem}-{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                parts.append(f"![What the cell draws]({name})")
            elif text := _printed(output):
                parts.append(text)
    page = "\n\n".join(parts) + f"\n\nThis page is the notebook `docs/examples/{NOTEBOOK.name}`.\n"
    return {f"{NOTEBOOK.stem}.md": page, **pictures}


def _printed(output: dict[str, Any]) -> str:
    """Return what a cell printed or returned."""
    data = output.get("data", {})
    if "text/html" in data:
        html = "".join(data["text/html"]).replace("\n\n", "\n")
        return html.replace(' class="dataframe"', "")  # so that the site lets it scroll
    text = "".join(data.get("text/plain") or output.get("text", ""))
    return f"```text\n{text.rstrip()}\n```"


def run(folder: Path) -> Any:
    """Run the notebook in a folder; return it with what its cells gave."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    place = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=600, record_timing=False, resources=place).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":  # warnings on stderr name folders of the machine
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
    return notebook


if __name__ == "__main__":
    import nbformat
    from pages import write

    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(run(Path(folder)), NOTEBOOK)
    print(*write(), sep="\n")
