"""What a clip costs on this machine."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", metavar="model", help="a model's name or folder; nano. With "
                        "--random_weights any number of names; all that are measured at full size")  # fmt: skip
    parser.add_argument("--runs", type=int, help="the quickest of so many clips counts; 3")
    parser.add_argument("--num_steps", type=int, help="steps from noise to picture; the model's own")
    parser.add_argument("--device", help="cpu or cuda; the GPU if there is one")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="float32 on a CPU, bfloat16 on a GPU")
    parser.add_argument("--save_path", help="also write the figures as JSON; of several models, a folder for them")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    group = parser.add_argument_group("at full size, before the weights are here")
    group.add_argument("--random_weights", action="store_true", help="build the networks with random weights")
    group.add_argument("--resolution", help="a label of the model, or height,width in pixels")
    group.add_argument("--height", type=int, help="in pixels, with --width")
    group.add_argument("--width", type=int, help="in pixels, with --height")
    group.add_argument("--num_pixel_frames", type=int, help="length of the clip; the model's own")
    group.add_argument("--num_conditional_frames", type=int, help="given pixel frames; 1 where the model takes any")
    group.add_argument("--extrapolate_to", type=int, help="also say what so many steps would take")
    group.add_argument("--budget_seconds", type=float, default=float("inf"),
                       help="for all models together: a loop that does not fit has 4 steps")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    return _full_size(arguments) if arguments.random_weights else _loaded(arguments)


def _loaded(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from cosmos_lab.files import write_json
    from cosmos_lab.pipelines.benchmark import benchmark
    from cosmos_lab.pipelines.generate import load

    unused = [flag for flag in FULL_SIZE_FLAGS if flag in arguments.spelled]
    if unused or len(arguments.models) > 1:
        raise ValueError(f"{unused[0] if unused else 'more than one model'} goes with --random_weights")
    pipe = load(*arguments.models[:1] or ["nano"], device=arguments.device, dtype=arguments.dtype)
    runs = 3 if arguments.runs is None else arguments.runs
    cost = benchmark(pipe, runs=runs, num_steps=arguments.num_steps, progress=not arguments.quiet)
    if arguments.save_path:
        write_json(arguments.save_path, asdict(cost))
    print(cost.table())
    return 0


FULL_SIZE_FLAGS = (
    "--resolution", "--height", "--width", "--num_pixel_frames", "--num_conditional_frames", "--extrapolate_to",
    "--budget_seconds",
)  # fmt: skip


def _full_size(arguments: argparse.Namespace) -> int:
    import shlex
    import sys

    import torch

    from cosmos_lab import catalog
    from cosmos_lab.pipelines.full_size import FULL_SIZE, measure_all

    if arguments.runs is not None:
        raise ValueError("--runs: with --random_weights each model makes one clip, leave it out")
    names = arguments.models or list(FULL_SIZE)
    for name in names:
        catalog.card(name)
    if arguments.device is None and not torch.cuda.is_available():
        raise ValueError("there is no GPU here, and a model of full size fills a computer's memory: say --device cpu")
    device, path = arguments.device or "cuda", arguments.save_path
    dtype = arguments.dtype or ("float32" if device == "cpu" else "bfloat16")
    alone = len(names) == 1 and str(path).endswith(".json")
    failures = measure_all(
        names, _workload(arguments), budget_seconds=arguments.budget_seconds, device=device,
        done=lambda name, found: _done(found, path and (path if alone else f"{path}/{name}.json")),
        dtype=getattr(torch, dtype), command=shlex.join(["python", "-m", "cosmos_lab", *sys.argv[1:]]),
    )  # fmt: skip
    return 1 if failures else 0


def _done(found: dict[str, object], path: str | None) -> None:
    from cosmos_lab.files import write_json

    if path:
        write_json(path, found)
    print(_line(found), flush=True)


def _workload(arguments: argparse.Namespace) -> "Workload":  # noqa: F821 (imported where it is used)
    from cosmos_lab.pipelines.full_size import Workload

    size = (arguments.height, arguments.width)
    if (None in size) != (size == (None, None)) or (arguments.resolution and size != (None, None)):
        raise ValueError("--height and --width go together, and --resolution says both: give one or the other")
    names = ("num_steps", "extrapolate_to", "num_pixel_frames", "num_conditional_frames")
    given = {name: getattr(arguments, name) for name in names}
    return Workload(**given, resolution=arguments.resolution if None in size else size)


def _line(found: dict[str, object]) -> str:
    """A model's figures in one line."""
    if "error" in found:
        return f"{found['model']}: {found['error']}"
    stages = ", ".join(
        f"{name} {cost['seconds']:.1f} s" + ("" if cost["peak_gb"] is None else f" {cost['peak_gb']:.1f} GB")
        for name, cost in found["stages"].items()
    )
    whole = found["extrapolated"] or {"clip_seconds": found["clip_seconds"], "note": "measured"}
    clip = f"{whole['clip_seconds']:.1f} s ({whole['note']})"
    return f"{found['model']}: {stages}; {found['num_steps']} steps; a clip {clip}; {found['attention']}"
