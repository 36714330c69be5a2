"""`train`: makes nano's weights, stage by stage. On several GPUs: torchrun --nproc_per_node N -m cosmos_lab train …"""

import argparse
import os
from pathlib import Path

from cosmos_lab.cli.flags import Switch

STAGES = ("words", "text", "tokenizer", "world", "critic", "reader", "average", "export")
TRAINED = ("text", "tokenizer", "world", "critic", "reader")
# Peak learning rate, clips (or captions) in a batch of one GPU, decay of the weight average, optimizer.
DEFAULTS = {"text": (1.6e-3, 384, 0.998, "muon"), "tokenizer": (1e-3, 8, 0.999, "muon"),
            "world": (1.2e-3, 64, 0.9995, "muon"), "critic": (2e-3, 256, 0.9995, "muon"),
            "reader": (1e-3, 32, 0.998, "adamw")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stages", nargs="+", choices=STAGES,
                        help="what to train, in this order, on the same clips; average and export come last")
    parser.add_argument("--folder", type=Path, default=Path("runs/nano"), help="weights, logs, resumable state")
    parser.add_argument("--destination", type=Path, default=Path("assets/nano"), help="export: the model folder")
    parser.add_argument("--other", type=Path, default=Path("assets/nano"),
                        help="average: the weights from which those of --folder were trained")
    parser.add_argument("--share", type=float, default=0.5, help="average: how far to go back towards --other")
    parser.add_argument("--averaged", choices=("world", "critic"), default="world",
                        help="average: the world model (transformer and text encoder), or the critic")
    parser.add_argument("--clips", type=int, default=20_000,
                        help="training clips over all GPUs; text: scenes that are told")
    parser.add_argument("--first_seed", type=int, default=0, help="seed of the first clip")
    parser.add_argument("--render_minutes", type=float, default=float("inf"),
                        help="train on what is rendered so long after the first pictures")
    parser.add_argument("--steps", type=int, default=100_000, help="steps of each trained stage")
    parser.add_argument("--minutes", type=float, nargs="+", default=[float("inf")],
                        help="wall-clock of each trained stage, or one for all; sets the schedule")
    parser.add_argument("--batch", type=int, nargs="+", help="clips a step on each GPU, of each trained stage")
    parser.add_argument("--lr", type=float, nargs="+", help="peak learning rate of each trained stage")
    parser.add_argument("--optimizer", choices=("adamw", "muon"),
                        help="muon, for the reader adamw; both take the same --lr")
    parser.add_argument("--state_weight", type=float, default=0.0,
                        help="world: weight of telling what stands where; 0 leaves it out")
    parser.add_argument("--meaning_weight", type=float, default=0.0,
                        help="world: weight of telling what a caption says; 0 leaves it out")
    parser.add_argument("--object_weight", type=float, default=0.0,
                        help="world: the error counts up to 1 + this many times where objects are, the less the more "
                             "noise; 0 counts all alike")
    parser.add_argument("--sigma", type=float, nargs=2, metavar=("MEAN", "STD"),
                        help="world: mean and standard deviation of ln sigma (default: 0.75 1.6)")
    parser.add_argument("--later", type=float, default=0.0, metavar="SHARE",
                        help="world: share of clips that begin in the middle of a motion")
    parser.add_argument("--drums", type=float, default=0.0, metavar="SHARE",
                        help="share of towers that are built of drums in place of cubes")
    parser.add_argument("--resting", type=float, nargs=4, metavar=("NONE", "ONE", "TWO", "THREE"),
                        help="odds of so many objects that only lie about (default: those of the evaluation)")
    parser.add_argument("--mistakes", type=float, default=0.0, metavar="SHARE",
                        help="world: share of clips that are also seen with a trace of a mistake, such as an object "
                             "too many, and have to be mended; critic: that are also shown with one, to be refused")
    parser.add_argument("--family_odds", type=_odds, nargs="+", default=[], metavar="FAMILY=ODDS",
                        help="scene families drawn more or less often than the others, such as fall=2 tower=2")
    parser.add_argument("--latent_noise", type=float, default=0.1,
                        help="tokenizer: noise that the decoder learns to forgive, in spreads of a latent")
    parser.add_argument("--ssim_weight", type=float, default=0.3,
                        help="tokenizer: weight of structural similarity in what is lost")
    parser.add_argument("--keep_latents", action="store_true",
                        help="tokenizer: train the decoder alone, so that a trained world model stays usable")
    parser.add_argument("--reader_clips", type=int, default=16_000, help="reader: clips of those above that it reads")
    parser.add_argument("--warmup", type=int, default=300, help="steps of rising learning rate")
    parser.add_argument("--cooldown", type=float, default=0.4, help="share of the run with falling learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="simulating processes over all GPUs")
    parser.add_argument("--compile", action=Switch, default=None, help="default: where there is a GPU")
    parser.add_argument("--device", default="auto")


def _odds(text: str) -> tuple[str, float]:
    name, _, odds = text.partition("=")
    try:
        return name, float(odds)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no FAMILY=ODDS, such as fall=2") from None


def run(args: argparse.Namespace) -> int:
    from cosmos_lab.train import nano
    from cosmos_lab.train.average import average
    from cosmos_lab.train.export import export

    trained = [stage for stage in args.stages if stage in TRAINED]
    if len(args.minutes) not in (1, len(trained)):
        raise ValueError(f"--minutes takes one number, or one for each of {', '.join(trained)}")
    for flag in ("batch", "lr"):
        if len(getattr(args, flag) or trained) != len(trained):
            named = ", ".join(trained) or "the trained stages, of which none is asked for"
            raise ValueError(f"--{flag} takes one number for each of {named}")
    if "average" in args.stages:
        _check_average(args, trained)
    if trained:
        _check_clips(args, trained)
    if "world" in trained:
        # Raises, before anything is rendered, for a recipe that cannot hold.
        _recipe(args)
    if "words" in args.stages:
        nano.train_words(args.folder, seed=args.seed)
    if trained:
        _train(args, trained)
    # One process's work: others would move the weights once more, or read what is being written.
    first = int(os.environ.get("RANK", 0)) == 0
    if "average" in args.stages and first:
        average(args.folder, args.other, args.share, args.averaged)
    if "export" in args.stages and first:
        print(f"wrote {args.destination}, digest {export(args.folder, args.destination)}")
    return 0


def _train(args: argparse.Namespace, trained: list[str]) -> None:
    from cosmos_lab.runtime.ranks import join
    from cosmos_lab.train import nano
    from cosmos_lab.train.clips import ClipSource, render_parts, render_pool

    ranks = join(args.device)
    source = ClipSource(count=args.clips, first_seed=args.first_seed, workers=args.workers, minutes=args.render_minutes,
                        mixture=_mixture(args), mistakes=args.mistakes, judged=trained == ["critic"])
    # Captions come from scenes that are only drawn: the text encoder alone needs no clips.
    drawn = trained == ["text"]
    # World model and critic learn from latents: they take more clips than a GPU holds pictures of.
    latent = trained in (["world"], ["critic"])
    pools = () if drawn else render_parts(source, ranks) if latent else [render_pool(source, ranks)]
    # The critic keeps some of its own clips apart.
    held_out = None if drawn or trained == ["critic"] else nano.held_out_pool(ranks, args.workers)
    for index, name in enumerate(trained):
        figures = nano.train_stage(name, _stage(args, index, name, source, ranks), pools, held_out)
        if ranks.first:
            print(name, " ".join(f"{key}={value:.4g}" for key, value in figures.items()), flush=True)


def _check_average(args: argparse.Namespace, trained: list[str]) -> None:
    """Before anything is trained: whether there will be something to average."""
    from cosmos_lab.train.average import ALIKE, check_alike, check_average

    check_average(args.other, args.share, args.averaged)
    if args.averaged != "critic":
        return
    changing = [stage for stage in ("text", "world") if stage in trained]
    if changing:
        raise ValueError(f"critics are averaged that hear the same text encoder, which {' and '.join(changing)} would "
                         f"change: leave that out, or train the critic anew on it first")  # fmt: skip
    if all((args.folder / name).is_file() for name in ALIKE["critic"]):
        check_alike(args.folder, args.other, "critic")


def _check_clips(args: argparse.Namespace, trained: list[str]) -> None:
    """Before anything is rendered: whether these clips can be drawn and serve the stages."""
    for flag in ("later", "mistakes"):
        if getattr(args, flag) and trained not in (["world"], ["critic"]):
            raise ValueError(f"--{flag} is for the stage world or critic alone, not {', '.join(trained)}: "
                             f"train one after another")
    stale, drawn = not args.keep_latents and "world" not in trained, args.folder / "dit.safetensors"
    if {"tokenizer", "reader"} <= set(trained) and stale and drawn.is_file():
        raise ValueError(f"the reader learns from what {drawn} draws, which knows the latents of before: add "
                         f"--keep_latents, or train the tokenizer and the world first")  # fmt: skip
    if "critic" in trained and not (trained == ["critic"] and args.mistakes):
        raise ValueError("the critic is trained alone, and learns from mistakes: add --mistakes 0.9, say")
    if "critic" in trained and "average" in args.stages and args.averaged == "world":
        raise ValueError("the critic hears the text encoder, which an average changes: average first, then train it; "
                         "or average the critic itself: --averaged critic")
    for flag in ("family_odds", "resting", "drums"):
        if getattr(args, flag) and "text" in trained:
            raise ValueError(f"--{flag} is for stages that see clips: the stage text is told of all scenes alike")
    if not 0 <= args.mistakes <= 1:
        raise ValueError(f"--mistakes is a share of the clips, from 0 to 1, not {args.mistakes:g}")
    try:
        _mixture(args)
    except ValueError as error:
        # It begins with the name of a field, which is that of a flag.
        raise ValueError(f"--{error}") from None


def _mixture(args: argparse.Namespace) -> object:
    """What the clips are drawn from."""
    from cosmos_lab.worlds.mixture import Mixture

    resting = {"resting": tuple(args.resting)} if args.resting else {}
    return Mixture(family_odds=dict(args.family_odds), later=args.later, drums=args.drums, **resting)


def _recipe(args: argparse.Namespace) -> object:
    """What the world model is asked."""
    from cosmos_lab.train.world_model import WorldRecipe

    asked = {name: getattr(args, name) for name in ("state_weight", "meaning_weight", "object_weight")}
    if args.sigma:
        asked |= {"sigma_mean": args.sigma[0], "sigma_std": args.sigma[1]}
    return WorldRecipe(**asked)


def _stage(args: argparse.Namespace, index: int, name: str, source: object, ranks: object) -> object:
    """The stage `name`, the one at `index` of those that are trained."""
    from cosmos_lab.train.loop import Plan
    from cosmos_lab.train.stage import Stage

    lr, batch, ema, optimizer = DEFAULTS[name]
    lr, batch = args.lr[index] if args.lr else lr, args.batch[index] if args.batch else batch
    plan = Plan(steps=args.steps, minutes=args.minutes[index % len(args.minutes)], lr=lr, warmup=args.warmup,
                cooldown=args.cooldown, optimizer=args.optimizer or optimizer, ema=ema, seed=args.seed)
    compile = ranks.device.type == "cuda" if args.compile is None else args.compile
    return Stage(folder=args.folder, source=source, plan=plan, ranks=ranks, batch=batch, compile=compile,
                 world=_recipe(args), latent_noise=args.latent_noise, ssim_weight=args.ssim_weight,
                 keep_latents=args.keep_latents, reader_clips=args.reader_clips)
