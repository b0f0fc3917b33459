"""Runs examples/notebook.ipynb, and stores it with what its cells print and with its figures as pictures.

    python examples/run_notebook.py

It needs `pip install -e '.[examples,png]' nbclient` and a Chrome or Chromium, which draws the pictures. They show
where no script runs, such as on GitHub. In a notebook that runs, the figures are plotly's, which can be zoomed.
"""

import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient

PATH = Path(__file__).parent / "notebook.ipynb"


def main() -> None:
    os.environ["PLOTLY_RENDERER"] = "png"
    notebook = nbformat.read(PATH, as_version=4)
    NotebookClient(notebook, timeout=600).execute()
    for cell in notebook.cells:
        cell.metadata = {}  # When it ran is no news.
        if cell.cell_type == "code":
            # Warnings of backends are of this machine.
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata.language_info = {"name": "python"}
    nbformat.write(notebook, PATH)
    print(f"{PATH.name}: {PATH.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()
