"""The rules of the house, held by reading the source: layers, silence, light imports, randomness, installation."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "cosmos_lab"
SOURCES = sorted(PACKAGE.rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# From the ground up. A part imports parts of lower layers, and itself.
LAYERS = (
    {"files", "tables", "noise", "worlds"},
    {"nn"},
    {"diffusion", "video", "text", "selection"},
    {"config"},
    {"catalog"},
    {"runtime"},
    {"pipelines"},
    {"evaluation"},
    {"train"},
    {"notebook", "experiments"},
    {"cli"},
    {"__main__"},
)
HEAVY = {"transformers", "tokenizers", "imageio", "av", "PIL", "ipywidgets", "IPython", "matplotlib", "mujoco",
         "diffusers", "accelerate", "huggingface_hub"}  # fmt: skip
# Drawing without an explicit generator. `torch.random.manual_seed` is for third-party constructors, inside fork_rng.
GLOBAL_DRAWS = re.compile(
    r"\b(torch\.manual_seed|torch\.seed|torch\.cuda\.manual_seed\w*|np\.random\.(seed|rand|randn|randint|normal|"
    r"uniform|choice|shuffle|permutation|standard_normal)|random\.(seed|random|randint|choice|shuffle|uniform))\("
)


def part(path):
    return owner(path.relative_to(PACKAGE).parts[0].removesuffix(".py"))


def owner(name):
    # Conventions change how a loaded model runs and are chosen while loading.
    return "runtime" if name == "conventions" else name


def imported(tree):
    """Modules of this package that a file imports, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "cosmos_lab":
            yield from (alias.name for alias in node.names if not alias.name.startswith("__"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cosmos_lab."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("cosmos_lab."))


def test_a_layer_imports_only_layers_below():
    level = {name: number for number, names in enumerate(LAYERS) for name in names}
    wrong = []
    for path in SOURCES:
        own = part(path)
        if own == "__init__":
            continue
        assert own in level, f"{own} has no layer"
        for other in map(owner, imported(ast.parse(path.read_text()))):
            if other != own and level[other] >= level[own]:
                wrong.append(f"{path.relative_to(ROOT)} imports {other}")
    assert not wrong


def test_only_commands_print():
    for path in SOURCES:
        names = [node.func.id for node in ast.walk(ast.parse(path.read_text()))
                 if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]  # fmt: skip
        assert part(path) == "cli" or "print" not in names, path


def test_heavy_packages_are_imported_where_they_are_used():
    def at_import(body):
        for node in body:
            if isinstance(node, ast.Import):
                yield from (alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield (node.module or "").split(".")[0]
            elif isinstance(node, ast.Try | ast.With):
                yield from at_import(node.body)

    for path in SOURCES:
        assert not HEAVY & set(at_import(ast.parse(path.read_text()).body)), path


@pytest.mark.parametrize("module", ["cosmos_lab", "cosmos_lab.pipelines.replay", "cosmos_lab.cli.text2world"])
def test_importing_is_light_and_has_no_side_effects(module, tmp_path):
    """No heavy package is loaded, nothing is written or printed; `import cosmos_lab` does not even need torch."""
    listed = "json.dumps(sorted(name.split('.')[0] for name in sys.modules))"
    code = f"import sys, json, {module}; print({listed})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path,
                          env={"PYTHONPATH": str(ROOT), "PATH": ""}, check=True)  # fmt: skip
    loaded = set(json.loads(done.stdout))
    assert not (HEAVY - {"PIL"}) & loaded and done.stderr == "" and list(tmp_path.iterdir()) == []
    assert ("torch" in loaded) == (module.endswith("replay"))


def test_public_names_are_there():
    import cosmos_lab as lab

    for name in lab.__all__:
        assert getattr(lab, name) is not None
    assert len(lab.__all__) <= 25
    with pytest.raises(AttributeError, match="it has"):
        lab.lod  # noqa: B018


def test_randomness_is_an_argument():
    for path in SOURCES:
        found = [line for line in path.read_text().splitlines() if GLOBAL_DRAWS.search(line)]
        assert not found, f"{path}: {found}"


def test_files_and_names_keep_the_style():
    for path in SOURCES:
        assert len(path.read_text().splitlines()) <= 350, f"{path} has two subjects"
        assert path.stem not in ("utils", "helpers", "common", "manager", "base", "core"), path


def test_what_users_call_is_annotated():
    bare = []
    for path in SOURCES:
        if part(path) not in ("config", "catalog", "video", "noise", "diffusion", "nn", "text", "selection", "runtime",
                              "pipelines"):  # fmt: skip
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                arguments = [*node.args.args, *node.args.kwonlyargs]
                if any(a.annotation is None and a.arg not in ("self", "cls") for a in arguments) or not node.returns:
                    bare.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert not bare


def test_runtime_dependencies_are_the_agreed_ones():
    names = {Requirement(line).name for line in PROJECT["project"]["dependencies"]}
    assert names == {"torch", "einops", "numpy", "safetensors", "transformers", "imageio", "av", "pillow", "matplotlib",
                     "ipywidgets", "tqdm"}  # fmt: skip
    assert set(PROJECT["project"]["optional-dependencies"]) == {"train", "parity", "dev"}


def constraints():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {Requirement(line).name: Requirement(line) for line in lines if line and not line.startswith("#")}


def test_every_dependency_has_a_tested_version():
    pinned = constraints()
    extras = PROJECT["project"]["optional-dependencies"].values()
    for line in [*PROJECT["project"]["dependencies"], *(line for extra in extras for line in extra)]:
        wanted = Requirement(line)
        (pin,) = pinned[wanted.name].specifier
        assert pin.operator == "==" and wanted.specifier.contains(pin.version), line


def test_conda_installs_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, options = environment["dependencies"]
    assert python == f"python{PROJECT['project']['requires-python']}" and pip == "pip"
    assert options["pip"][0] == "-c constraints.txt"
    extras = re.fullmatch(r"-e \.\[(.*)\]", options["pip"][1])[1].split(",")
    assert set(extras) == set(PROJECT["project"]["optional-dependencies"])
    assert environment["channels"] == ["conda-forge"]


def test_versions_agree():
    import cosmos_lab

    assert cosmos_lab.__version__ == PROJECT["project"]["version"]


def test_the_licence_is_whole():
    licence = (ROOT / "LICENSE").read_text()
    assert "Apache License" in licence and "END OF TERMS AND CONDITIONS" in licence


def test_the_makefile_has_its_targets_and_ci_runs_the_tests():
    makefile = (ROOT / "Makefile").read_text()
    for target in ("world", "test", "lab", "notebooks"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert "python3-venv" in makefile
    assert "make test" in (ROOT / ".ci" / "run").read_text() and (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_no_package_index_and_no_machine_is_named():
    names = ("pyproject.toml", "environment.yml", "constraints.txt", "Makefile", "README.md")
    tracked = [ROOT / name for name in names]
    hosts = re.compile(r"pypi\.org|pythonhosted|index-url|find-links|download\.pytorch")
    for path in [*tracked, ROOT / ".ci" / "run", *SOURCES]:
        text = path.read_text()
        assert not hosts.search(text), path
        assert "/wo" + "rk/" not in text and "sha" + "red/" not in text, path
