"""What flags ask for that is not there yet, and to which generation a flag belongs."""

import argparse
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cosmos_lab.config import Card

OFFLOAD = (
    "--offload_guardrail", "--offload_prompt_refiner", "--offload_text_encoder", "--offload_diffusion_transformer",
    "--offload_tokenizer", "--offload_text_encoder_model", "--offload_prompt_upsampler", "--offload_guardrail_models",
    "--offload_diffusion_model",
)  # fmt: skip
# A flag that asks for work which is not there, and why it is refused.
REASONS = {
    "--natten": "sparse attention is not there yet: leave it out for full attention",
    "--use_cuda_graphs": "CUDA graphs are not there yet: leave it out",
    "--use_fast_tokenizer": "the fast image tokenizer is not there: leave it out for the usual one",
    "--prompt_upsampler_dir": "the prompt upsampler is not there yet: write the prompt in full",
    "--word_limit_to_skip_upsampler": "the prompt upsampler is not there yet: every prompt is taken as it is",
    "--num_generations": "best-of-N of continued clips is not there yet: make clips of several seeds and compare them",
    "--num_critic_trials": "the critic of continued clips is not there yet",
    "--skip_generation": "the critic of clips made before is not there yet",
    "--gr00t_variant": "the GR00T samples of Predict2 are not there yet: choose a model with --model",
    "--prompt_prefix": "the GR00T samples that need it are not there yet: write it into --prompt",
    "--no_keep_going": "stopping at the first bad sample is not there: the rest always goes on, leave it out",
    "--experiment": "a model's settings are its card's: choose the model with --model",
    "--config_file": "a model's settings are its card's: choose the model with --model",
    "--profile": "there is no profile of a run; `cosmos-lab benchmark` measures its stages",
}
COUNTS = {
    "num_gpus": ("--num_gpus", 1), "context_parallel_size": ("--context_parallel_size", 1),
    "distill_steps": ("--distill_steps", 0),
}  # fmt: skip
COUNT_REASONS = {
    "--num_gpus": "inference on several GPUs is not there yet: leave it out, and torchrun too",
    "--context_parallel_size": "inference on several GPUs is not there yet: leave it out, and torchrun too",
    "--distill_steps": "the distilled model is not there: leave it out, or give 0",
}
PREDICT1 = (
    "--diffusion_transformer_dir", "--tokenizer_dir", "--prompt_upsampler_dir", "--word_limit_to_skip_upsampler",
    "--input_image_or_video_path", "--num_input_frames", "--batch_input_path", "--num_video_frames", "--height",
    "--width", "--video_save_name", "--video_save_folder", "--disable_prompt_upsampler",
    "--offload_diffusion_transformer", "--offload_text_encoder_model", "--offload_prompt_upsampler",
)  # fmt: skip
PREDICT2 = (
    "--model_size", "--load_ema", "--dit_path_text2image", "--dit_path_video2world", "--use_lora",
    "--lora_path", "--lora_alpha", "--lora_rank", "--lora_target_modules", "--init_lora_weights", "--batch_input_json",
    "--natten", "--use_cuda_graphs", "--benchmark", "--disable_prompt_refiner", "--offload_guardrail",
    "--offload_prompt_refiner", "--downcast_text_encoder", "--distill_steps",
    "--use_fast_tokenizer", "--num_generations", "--num_critic_trials", "--skip_generation",
    "--text2image_edit_strength", "--num_chunks",
)  # fmt: skip
# Predict2's, but as useful with Predict2.5, whose own command is `inference`.
PREDICT2_AND_2_5 = (
    "--aspect_ratio", "--input_path", "--num_conditional_frames", "--resolution", "--dit_path",
    "--offload_text_encoder",
)  # fmt: skip
PREDICT1_AND_2_5 = ("--offload_tokenizer", "--offload_guardrail_models")
OWNERS = (
    dict.fromkeys(PREDICT1, ("cosmos1", "predict1")) | dict.fromkeys(PREDICT2, ("predict2",))
    | dict.fromkeys(PREDICT2_AND_2_5, ("predict2", "predict2.5"))
    | dict.fromkeys(PREDICT1_AND_2_5, ("cosmos1", "predict1", "predict2.5"))
)  # fmt: skip
GENERATIONS = {
    "nano": "nano", "cosmos1": "Cosmos 1.0", "predict1": "Cosmos-Predict1", "predict2": "Cosmos-Predict2",
    "predict2.5": "Cosmos-Predict2.5",
}  # fmt: skip


def refuse_absent(arguments: argparse.Namespace) -> None:
    """Raises ValueError with the reason for a flag, or a launcher, that asks for work which is not there."""
    for flag, reason in REASONS.items():
        if flag in arguments.spelled:
            raise ValueError(f"{flag}: {reason}")
    for name, (flag, neutral) in COUNTS.items():
        if getattr(arguments, name, None) not in (None, neutral):
            raise ValueError(f"{flag} {getattr(arguments, name)}: {COUNT_REASONS[flag]}")
    # torchrun tells each process how many there are; all of them would write the same files.
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise ValueError(f"torchrun --nproc_per_node: {COUNT_REASONS['--num_gpus']}")


def refuse_foreign(arguments: argparse.Namespace, card: "Card") -> None:
    """Raises ValueError for a flag of another generation than the card's. nano, which is of none, has all flags."""
    for flag in sorted(arguments.spelled):
        owners = OWNERS.get(flag)
        if owners and card.generation not in (*owners, "nano"):
            names = " and ".join(GENERATIONS[owner] for owner in owners)
            raise ValueError(
                f"{flag} is a flag of {names}, but {card.name} is a model of {GENERATIONS[card.generation]}: "
                "leave it out, or choose another --model"
            )


def offloading(arguments: argparse.Namespace, card: "Card") -> list[str]:
    """The offload flags that were given, which on nano have nothing to do. Raises ValueError on other models."""
    given = [flag for flag in OFFLOAD if flag in arguments.spelled]
    if given and card.generation != "nano":
        raise ValueError(f"{given[0]}: offloading is not there yet: leave it out")
    return given


def refuse_unchecked(arguments: argparse.Namespace, name: str) -> None:
    """Raises ValueError for official weights without the user's word that nothing is checked."""
    if not arguments.disable_guardrail:
        raise ValueError(
            f"NOT_CHECKED: the guardrail for {name} is not there yet, so prompts and clips are not checked; "
            "to go on without, say so with --disable_guardrail (the license of the weights asks for a guardrail)"
        )
