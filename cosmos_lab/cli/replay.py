"""Make a saved clip again, and say whether the file has the same bytes."""

import argparse
from pathlib import Path

from cosmos_lab.cli import making, places


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="a provenance file (.json), or the saved clip beside it")
    parser.add_argument("--save_path", help="where to write; beside the clip, with _replay in its name")
    parser.add_argument("--contact_sheet", action="store_true", help="also write a picture of the clip's pixel frames")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(arguments: argparse.Namespace) -> int:
    from cosmos_lab.files import sha256
    from cosmos_lab.pipelines.provenance import read_provenance
    from cosmos_lab.pipelines.replay import replay

    provenance = read_provenance(arguments.file)
    original = _saved(Path(arguments.file))
    path = _output(arguments, provenance, original)
    # What it is compared with must still be there afterwards, as must its provenance and input.
    needed = [original, Path(arguments.file).with_suffix(".json"), (provenance["input"] or {}).get("path")]
    places.check(places.written(path, sheet=arguments.contact_sheet), needed)
    try:
        made = replay(arguments.file, progress=not arguments.quiet)
    except ValueError as error:
        # Weights or an input that have changed are no mistake in the command line.
        raise OSError(error) from error
    making.finish(made, path, arguments)
    same = original is None or sha256(original) == sha256(path)
    if original:
        print(f"{'replay':<14}{'the same bytes as' if same else 'other bytes than'} {original}")
    return int(not same)


def _output(arguments: argparse.Namespace, provenance: dict[str, object], original: Path | None) -> Path:
    """The place to write to. Raises ValueError for a suffix that does not fit."""
    image = provenance["settings"]["num_pixel_frames"] == 1
    allowed = (*making.PICTURES, ".mp4") if image else (".mp4",)
    suffix = original.suffix if original else allowed[0]
    stem = Path(arguments.file).with_suffix("")
    path = Path(arguments.save_path or stem.with_name(f"{stem.name}_replay{suffix}"))
    if path.suffix.lower() not in allowed:
        raise ValueError(f"--save_path {path}: the name must end in {' or '.join(allowed)}")
    return path


def _saved(file: Path) -> Path | None:
    """The picture or clip that a provenance file lies beside."""
    suffixes = (".mp4", *making.PICTURES) if file.suffix == ".json" else (file.suffix,)
    return next((path for path in map(file.with_suffix, suffixes) if path.is_file()), None)
