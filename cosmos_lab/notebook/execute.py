"""`python -m cosmos_lab.notebook.execute notebooks` runs notebooks from clean kernels, normalises and stamps them.

The stamp is a hash of a notebook's code, of nano's weights, and of every library file that was imported when it ran:
where none of these changed, its outputs need not be made again. `--check` runs nothing and fails on a wrong stamp.
`--stale` runs only the notebooks whose stamp is wrong.
"""

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import cosmos_lab
from cosmos_lab.files import sha256, write_text
from cosmos_lab.notebook.normalize import Json, normalize
from cosmos_lab.notebook.readme import save_thumbnail, with_notebooks

LIBRARY = Path(cosmos_lab.__file__).parent
SECONDS = 600
LIST_MODULES = """
import json, sys
from pathlib import Path
import cosmos_lab
_root = Path(cosmos_lab.__file__).parent
_files = {getattr(m, "__file__", None) for n, m in list(sys.modules.items()) if n.split(".")[0] == "cosmos_lab"}
print(json.dumps(sorted(Path(f).relative_to(_root).as_posix() for f in _files if f)))
"""


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m cosmos_lab.notebook.execute", description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path, help="notebooks, or folders of them")
    parser.add_argument("--check", action="store_true", help="run nothing; fail where a stamp is wrong")
    parser.add_argument("--stale", action="store_true", help="run only notebooks whose stamp is wrong")
    options = parser.parse_args(arguments)
    notebooks = find(options.paths)
    if not notebooks:
        parser.error(f"no notebooks in {', '.join(map(str, options.paths))}")
    if options.check:
        faults = [fault for path in notebooks if (fault := stale(path))]
        sys.stdout.write("".join(f"{fault}\n" for fault in faults) or "all notebooks are fresh\n")
        return 1 if faults else 0
    for path in notebooks:
        if not options.stale or stale(path):
            begin = time.perf_counter()
            run(path)
            size = path.stat().st_size / 1e6
            sys.stdout.write(f"{path}: {time.perf_counter() - begin:.0f} s, {size:.2f} MB\n")
    update_readme(notebooks)
    return 0


def find(paths: Iterable[Path]) -> list[Path]:
    """The notebooks that the paths name, folders opened, in order."""
    found = [p for path in paths for p in (sorted(path.glob("*.ipynb")) if path.is_dir() else [path])]
    return [path for path in found if ".ipynb_checkpoints" not in path.parts]


def run(path: Path) -> None:
    """Executes one notebook in a clean kernel and writes it back normalised and stamped.

    Raises nbclient's CellExecutionError, and leaves the file as it was, when a cell fails.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(LIST_MODULES))
    place = {"metadata": {"path": str(path.resolve().parent)}}
    # The kernel imports the library that this process stamps, whatever else may be installed.
    paths = os.pathsep.join(filter(None, (str(LIBRARY.parent), os.environ.get("PYTHONPATH"))))
    client = NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources=place)
    client.execute(env={**os.environ, "PYTHONPATH": paths})
    modules = json.loads(notebook.cells.pop().outputs[0]["text"])
    plain = json.loads(nbformat.writes(notebook))
    # nbformat splits texts into lines when it writes; whole strings compare and clean more simply.
    for cell in plain["cells"]:
        cell["source"] = "".join(cell["source"])
    plain["metadata"]["cosmos_lab"] = {"modules": modules}
    normalize(plain)
    plain["metadata"]["cosmos_lab"]["hash"] = stamp(plain)
    write(path, plain)


def write(path: Path, notebook: Json) -> None:
    """Writes a notebook with its sources and texts split into lines, so that differences read well."""
    import nbformat

    write_text(path, nbformat.writes(nbformat.from_dict(notebook)) + "\n")


def stale(path: Path) -> str | None:
    """Why a notebook's outputs may differ from what its code makes today, or None."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    recorded = notebook["metadata"].get("cosmos_lab", {})
    if "hash" not in recorded:
        return f"{path}: never executed; run `make notebooks`"
    if recorded["hash"] != stamp(notebook):
        return f"{path}: its code, the weights or the library changed since it ran; run `make notebooks`"
    return None


def stamp(notebook: Json) -> str:
    """SHA-256 over the code cells, nano's weights, and the library files that the notebook imported."""
    digest = hashlib.sha256()
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            digest.update(("".join(cell["source"]) + "\0").encode())
    digest.update(weights_digest().encode())
    for module in notebook["metadata"]["cosmos_lab"]["modules"]:
        file = LIBRARY / module
        digest.update(f"{module} {sha256(file) if file.is_file() else 'gone'}\0".encode())
    return digest.hexdigest()


def weights_digest() -> str:
    """The fingerprint of nano's weights; that of no files where they are not there."""
    from cosmos_lab.runtime.checkpoints import find_folder

    folder = find_folder("nano")
    files = sorted(folder.glob("*.safetensors"))
    return hashlib.sha256("".join(f"{file.name} {sha256(file)}\n" for file in files).encode()).hexdigest()


def update_readme(notebooks: list[Path]) -> None:
    """Makes the pictures of these notebooks, and the README's map and claims of all beside them, anew."""
    folder = notebooks[0].resolve().parent
    readme = folder.parent / "README.md"
    if not readme.is_file():
        return
    for notebook in notebooks:
        save_thumbnail(notebook, folder.parent / "assets" / "notebooks")
    text = readme.read_text(encoding="utf-8")
    fresh = with_notebooks(text, find([folder]))
    if fresh != text:
        write_text(readme, fresh)


if __name__ == "__main__":
    sys.exit(main())
