"""How good a model of the nano world is, beside what rendered clips and baselines score.

On several GPUs: torchrun --nproc_per_node N -m cosmos_lab evaluate …
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", default="nano", help="a model's name or folder; nano")
    parser.add_argument("--folder", type=Path, help="where the reader and eval/ lie; the embedded model's folder")
    parser.add_argument("--reader", type=Path, help="another reader's weights")
    parser.add_argument("--only", choices=("edits", "long"), help="measure edits or long videos instead of clips")
    parser.add_argument("--edits", type=int, default=24, help="clips edited with every strength; 24")
    parser.add_argument("--strengths", type=float, nargs="+", help="strengths of edits; 0.3 to 1")
    parser.add_argument("--sdedit", action="store_true", help="edits: do not tell what the input shows")
    parser.add_argument("--num_draws", type=int, help="edits: noises that each step averages; 1")
    parser.add_argument("--takes", type=int, default=9, help="long videos; 9")
    parser.add_argument("--prompts", type=int, default=512, help="text prompts, half of them withheld; 512")
    parser.add_argument("--falls", type=int, default=96, help="clips for gravity; 96")
    parser.add_argument("--rolls", type=int, default=96, help="clips for rolling speed; 96")
    parser.add_argument("--codec_clips", type=int, default=256, help="clips for the tokenizer; 256")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="each repeats the text prompts; 0 1 2")
    parser.add_argument("--num_steps", type=int, help="steps from noise to picture; the model's own")
    parser.add_argument("--guidance", type=float, nargs="+",
                        help="the model's own; several: obedience as a function of it")  # fmt: skip
    parser.add_argument("--tries", type=int, help="how often a clip of a text prompt may be made; the model's own")
    parser.add_argument("--batch", type=int, default=64, help="clips generated together; 64")
    parser.add_argument("--device", help="cpu or cuda; the GPU if there is one")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="float32 on a CPU, bfloat16 on a GPU")
    parser.add_argument("--save_path", type=Path, help="also write everything as JSON")
    parser.add_argument("--markdown", action="store_true", help="print the table for a README")
    parser.add_argument("--make_references", action="store_true",
                        help="simulate and store the reference sets in FOLDER/eval; needs the simulator")  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(arguments: argparse.Namespace) -> int:
    from cosmos_lab.runtime.checkpoints import find_folder

    folder = arguments.folder or find_folder("nano")
    if arguments.make_references:
        return _make_references(folder / "eval")
    from cosmos_lab.evaluation.reader import load_reader
    from cosmos_lab.pipelines.generate import load
    from cosmos_lab.runtime.ranks import Ranks, join

    several = len(arguments.guidance or ()) > 1
    if several and arguments.only:
        raise ValueError(f"--only {arguments.only} takes one --guidance")
    if arguments.tries is not None and (several or arguments.only):
        raise ValueError("--tries is for the evaluation of clips alone: leave it away")
    kind = "guidances" if several else arguments.only
    measure, extent = {"edits": _edits, "long": _long, "guidances": _guidances, None: _clips}[kind](arguments)
    named = None if arguments.device == "cuda" else arguments.device
    ranks = join(named or "auto") if "RANK" in os.environ else Ranks()
    device = arguments.device if ranks.size == 1 else ranks.device
    pipe = load(arguments.model, device=device, dtype=arguments.dtype)
    reader = load_reader(arguments.reader or folder / "reader.safetensors", pipe.device)
    found = measure(pipe, reader, folder=folder, extent=extent, progress=not arguments.quiet, ranks=ranks)
    if not ranks.first:
        return 0
    if arguments.save_path:
        found.save(arguments.save_path)
    print(found.markdown() if arguments.markdown else found)
    return 0


def _one(guidance: list[float] | None) -> float | None:
    return guidance[0] if guidance else None


def _guidances(arguments: argparse.Namespace) -> tuple[Callable, object]:
    from cosmos_lab.evaluation.guidance_curve import GuidanceExtent, measure_guidance

    return measure_guidance, GuidanceExtent(
        guidances=tuple(arguments.guidance), prompts=arguments.prompts, num_steps=arguments.num_steps,
        seed=arguments.seeds[0], batch=arguments.batch,
    )  # fmt: skip


def _clips(arguments: argparse.Namespace) -> tuple[Callable, object]:
    from cosmos_lab.evaluation.clips import Extent
    from cosmos_lab.evaluation.evaluate import evaluate

    return evaluate, Extent(
        prompts=arguments.prompts, falls=arguments.falls, rolls=arguments.rolls, codec=arguments.codec_clips,
        seeds=tuple(arguments.seeds), num_steps=arguments.num_steps, guidance=_one(arguments.guidance),
        batch=arguments.batch, tries=arguments.tries,
    )  # fmt: skip


def _edits(arguments: argparse.Namespace) -> tuple[Callable, object]:
    from cosmos_lab.evaluation.edit_curve import EditExtent, measure_edits

    strengths = {"strengths": tuple(arguments.strengths)} if arguments.strengths else {}
    return measure_edits, EditExtent(
        edits=arguments.edits, source_prompts=not arguments.sdedit, num_draws=arguments.num_draws,
        seed=arguments.seeds[0], num_steps=arguments.num_steps, guidance=_one(arguments.guidance), **strengths,
    )  # fmt: skip


def _long(arguments: argparse.Namespace) -> tuple[Callable, object]:
    from cosmos_lab.evaluation.long_video import LongExtent, measure_long

    return measure_long, LongExtent(
        takes=arguments.takes, seed=arguments.seeds[0], num_steps=arguments.num_steps, guidance=_one(arguments.guidance)
    )


def _make_references(folder: Path) -> int:
    from cosmos_lab.evaluation.references import write_references
    from cosmos_lab.evaluation.takes import write_takes

    for name, digest in write_references(folder).items():
        print(f"{name:<12}{folder / name}.npz, scenes {digest}")
    print(f"{'takes':<12}{write_takes(folder)}")
    return 0
