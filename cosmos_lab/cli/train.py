"""`train`: makes nano's weights, stage by stage. On several GPUs: torchrun --nproc_per_node N -m cosmos_lab train …"""

import argparse
from pathlib import Path

STAGES = ("words", "tokenizer", "world", "reader", "export")
# Peak learning rate, clips in a batch of one GPU, decay of the weight average.
DEFAULTS = {"tokenizer": (1e-3, 16, 0.999), "world": (1.2e-3, 128, 0.9995), "reader": (2e-3, 32, 0.995)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stage", choices=STAGES, help="what to train; export writes the folder that load reads")
    parser.add_argument("--folder", type=Path, default=Path("runs/nano"), help="weights, logs, resumable state")
    parser.add_argument("--destination", type=Path, default=Path("assets/nano"), help="export: the model folder")
    parser.add_argument("--clips", type=int, default=20_000, help="training clips over all GPUs")
    parser.add_argument("--first_seed", type=int, default=0, help="seed of the first clip")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after this long; sets the schedule")
    parser.add_argument("--batch", type=int, help="clips a step on each GPU")
    parser.add_argument("--lr", type=float, help="peak learning rate")
    parser.add_argument("--warmup", type=int, default=300, help="steps of rising learning rate")
    parser.add_argument("--cooldown", type=float, default=0.4, help="share of the run with falling learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="simulating processes over all GPUs")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, help="default: where there is a GPU")
    parser.add_argument("--device", default="auto")


def run(args: argparse.Namespace) -> int:
    from cosmos_lab.train import nano

    if args.stage == "words":
        nano.train_words(args.folder, seed=args.seed)
    elif args.stage == "export":
        print(f"wrote {args.destination}, digest {nano.export(args.folder, args.destination)}")
    else:
        _train(args)
    return 0


def _train(args: argparse.Namespace) -> None:
    from cosmos_lab.train import nano
    from cosmos_lab.train.clips import ClipSource
    from cosmos_lab.train.loop import Plan
    from cosmos_lab.train.ranks import join
    from cosmos_lab.train.world_model import WorldRecipe

    lr, batch, ema = DEFAULTS[args.stage]
    batch = args.batch or batch
    plan = Plan(steps=args.steps, minutes=args.minutes, lr=args.lr or lr, warmup=args.warmup, cooldown=args.cooldown,
                ema=ema, seed=args.seed)
    source = ClipSource(count=args.clips, first_seed=args.first_seed, workers=args.workers)
    ranks = join(args.device)
    compile = ranks.device.type == "cuda" if args.compile is None else args.compile
    stage = nano.Stage(folder=args.folder, source=source, plan=plan, ranks=ranks, batch=batch, compile=compile)
    if args.stage == "tokenizer":
        figures = nano.train_tokenizer_stage(stage)
    elif args.stage == "world":
        figures = nano.train_world_stage(stage, WorldRecipe(batch=batch))
    else:
        figures = nano.train_reader_stage(stage)
    if stage.ranks.first:
        print(" ".join(f"{name}={value:.4g}" for name, value in figures.items()))
