"""What a clip costs on this machine."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", default="nano", help="a model's name or folder; nano")
    parser.add_argument("--runs", type=int, default=3, help="the quickest of so many clips counts; 3")
    parser.add_argument("--num_steps", type=int, help="steps from noise to picture; the model's own")
    parser.add_argument("--device", help="cpu or cuda; the GPU if there is one")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="float32 on a CPU, bfloat16 on a GPU")
    parser.add_argument("--save_path", help="also write the figures as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from cosmos_lab.files import write_json
    from cosmos_lab.pipelines.benchmark import benchmark
    from cosmos_lab.pipelines.generate import load

    pipe = load(arguments.model, device=arguments.device, dtype=arguments.dtype)
    cost = benchmark(pipe, runs=arguments.runs, num_steps=arguments.num_steps, progress=not arguments.quiet)
    if arguments.save_path:
        write_json(arguments.save_path, asdict(cost))
    print(cost.table())
    return 0
