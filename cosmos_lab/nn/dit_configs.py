"""The configurations of all released Cosmos transformers, and of nano's.

Resolutions, frame rates and post-trained variants of one size share one configuration.
"""

from collections.abc import Callable

from cosmos_lab.nn.dit import DiTConfig


def predict1_7b(condition_mask: bool) -> DiTConfig:
    """Cosmos-1.0 and Predict1, 7B: 7.24 billion parameters."""
    return DiTConfig(
        width=4096,
        num_blocks=28,
        num_heads=32,
        condition_mask=condition_mask,
        rope_ratio=(2.0, 1.0, 1.0),
        rope_dtype="bfloat16",
        fps_modulation=True,
        learned_positions=True,
    )


def predict1_14b(condition_mask: bool) -> DiTConfig:
    """Cosmos-1.0 and Predict1, 14B: 14.27 billion parameters."""
    return DiTConfig(
        width=5120,
        num_blocks=36,
        num_heads=40,
        condition_mask=condition_mask,
        rope_ratio=(2.0, 2.0, 2.0),
        rope_dtype="bfloat16",
        fps_modulation=True,
        learned_positions=True,
    )


def predict2_text2image(width: int, num_blocks: int, num_heads: int) -> DiTConfig:
    """Predict2's image networks: no condition mask, spatial extrapolation by 4."""
    return DiTConfig(
        width=width, num_blocks=num_blocks, num_heads=num_heads, rope_ratio=(1.0, 4.0, 4.0), rope_dtype="bfloat16"
    )


def predict2_2b_video2world() -> DiTConfig:
    """Predict2 Video2World, 2B."""
    return DiTConfig(
        width=2048,
        num_blocks=28,
        num_heads=16,
        condition_mask=True,
        rope_ratio=(1.0, 3.0, 3.0),
        rope_dtype="bfloat16",
    )


def predict2_14b_video2world() -> DiTConfig:
    """Predict2 Video2World, 14B: its time ratio is 20/24, a rotation faster than the base."""
    return DiTConfig(
        width=5120,
        num_blocks=36,
        num_heads=40,
        condition_mask=True,
        rope_ratio=(20 / 24, 2.0, 2.0),
        rope_dtype="bfloat16",
    )


def predict2_5(width: int, num_blocks: int, num_heads: int) -> DiTConfig:
    """Predict2.5: text of 28 × 3584 features projected inside, timesteps 0 … 1000, modulation in float32."""
    return DiTConfig(
        width=width,
        num_blocks=num_blocks,
        num_heads=num_heads,
        condition_mask=True,
        text_projection=28 * 3584,
        rope_ratio=(1.0, 3.0, 3.0),
        rope_dtype="bfloat16_exponents",
        timestep_scale=0.001,
        timestep_dtype="float32",
    )


def nano() -> DiTConfig:
    """The embedded model: Predict2's network, small, in float32 where it costs nothing."""
    return DiTConfig(
        width=384,
        num_blocks=10,
        num_heads=6,
        adaln_rank=24,
        condition_mask=True,
        text_width=256,
        timestep_dtype="float32",
    )


DIT_CONFIGS: dict[str, Callable[[], DiTConfig]] = {
    "predict1-7b-text2world": lambda: predict1_7b(condition_mask=False),
    "predict1-7b-video2world": lambda: predict1_7b(condition_mask=True),
    "predict1-14b-text2world": lambda: predict1_14b(condition_mask=False),
    "predict1-14b-video2world": lambda: predict1_14b(condition_mask=True),
    "predict2-0.6b-text2image": lambda: predict2_text2image(width=1280, num_blocks=20, num_heads=20),
    "predict2-2b-text2image": lambda: predict2_text2image(width=2048, num_blocks=28, num_heads=16),
    "predict2-14b-text2image": lambda: predict2_text2image(width=5120, num_blocks=36, num_heads=40),
    "predict2-2b-video2world": predict2_2b_video2world,
    "predict2-14b-video2world": predict2_14b_video2world,
    "predict2.5-2b": lambda: predict2_5(width=2048, num_blocks=28, num_heads=16),
    "predict2.5-14b": lambda: predict2_5(width=5120, num_blocks=36, num_heads=40),
    "nano": nano,
}
