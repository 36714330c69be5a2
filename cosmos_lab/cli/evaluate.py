"""How good a model of the nano world is, beside what rendered clips and baselines score."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", default="nano", help="a model's name or folder; nano")
    parser.add_argument("--folder", type=Path, help="where the reader and eval/ lie; the embedded model's folder")
    parser.add_argument("--reader", type=Path, help="another reader's weights")
    parser.add_argument("--prompts", type=int, default=512, help="text prompts, half of them withheld; 512")
    parser.add_argument("--falls", type=int, default=96, help="clips for gravity; 96")
    parser.add_argument("--rolls", type=int, default=96, help="clips for rolling speed; 96")
    parser.add_argument("--codec_clips", type=int, default=256, help="clips for the tokenizer; 256")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="each repeats the text prompts; 0 1 2")
    parser.add_argument("--num_steps", type=int, help="steps from noise to picture; the model's own")
    parser.add_argument("--guidance", type=float, help="the model's own")
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
    from cosmos_lab.evaluation.clips import Extent
    from cosmos_lab.evaluation.evaluate import evaluate
    from cosmos_lab.evaluation.reader import load_reader
    from cosmos_lab.pipelines.generate import load

    extent = Extent(
        prompts=arguments.prompts, falls=arguments.falls, rolls=arguments.rolls, codec=arguments.codec_clips,
        seeds=tuple(arguments.seeds), num_steps=arguments.num_steps, guidance=arguments.guidance, batch=arguments.batch,
    )  # fmt: skip
    pipe = load(arguments.model, device=arguments.device, dtype=arguments.dtype)
    reader = load_reader(arguments.reader or folder / "reader.safetensors", pipe.device)
    found = evaluate(pipe, reader, folder=folder, extent=extent, progress=not arguments.quiet)
    if arguments.save_path:
        found.save(arguments.save_path)
    print(found.markdown() if arguments.markdown else found)
    return 0


def _make_references(folder: Path) -> int:
    from cosmos_lab.evaluation.references import write_references

    for name, digest in write_references(folder).items():
        print(f"{name:<12}{folder / name}.npz, scenes {digest}")
    return 0
