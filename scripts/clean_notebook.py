"""A notebook as it stands in git: without outputs, counts and what JupyterLab writes about itself. Git's clean filter for notebooks/*.ipynb.

    python scripts/clean_notebook.py <notebook.ipynb       # prints it; what is no notebook is printed as it is

JupyterLab saves whatever is opened, and a clone would differ from what was committed. `setup_env.py filter` tells git about this script (`.gitattributes`
names the files) and JupyterLab in `.venv` about `after_save`. Sources, cell ids, tags and attachments stay. Standard library only: any Python 3 will do.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

METADATA = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}, "language_info": {"name": "python"}}


def cleaned(text: str) -> str:
    """The notebook's text as it is committed. Raises ValueError, KeyError, TypeError or AttributeError if it is no notebook."""
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        tags = cell["metadata"].get("tags")
        cell["metadata"] = {"tags": tags} if tags else {}
        cell["source"] = "".join(cell["source"]).splitlines(keepends=True)
        if cell["cell_type"] == "code":
            cell |= {"execution_count": None, "outputs": []}
    notebook["metadata"] = METADATA
    return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def after_save(os_path: str, model: dict, **_more) -> None:
    """JupyterLab's post-save hook: tell git that a notebook with new outputs is the one it knows.

    Git takes a file of another size for changed without asking the filter, and would refuse to pull. `git add` of equal content stages nothing.
    """

    def git(*arguments: str) -> bool:
        command = ["git", "-C", str(Path(os_path).parent), *arguments, "--", Path(os_path).name]
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    try:
        if model["type"] == "notebook" and git("ls-files", "--error-unmatch") and git("diff", "--quiet"):
            git("add")
    except OSError:
        pass  # no git here


def main() -> None:
    """From standard input to standard output."""
    given = sys.stdin.buffer.read()
    try:
        content = cleaned(given.decode("utf-8")).encode("utf-8")
    except (ValueError, KeyError, TypeError, AttributeError):
        content = given
    sys.stdout.buffer.write(content)


if __name__ == "__main__":
    main()
