"""Exercises of notebook 02: tokens back into latents, and a modulated sub-layer."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from cosmos_lab.nn.layers import modulate
from cosmos_lab.nn.patches import unpatchify as library_unpatchify
from cosmos_lab.notebook.exercise import Exercise, Mistake

Sublayer = Callable[[Tensor], Tensor]


def _unpatchify(y: Tensor) -> Tensor:
    return library_unpatchify(y[None], patch=(1, 2, 2))[0]


def _token_cases() -> dict[str, dict[str, object]]:
    return {
        "1 latent frame, 2×3 tokens, 2 channels": {"y": torch.arange(48.0).reshape(1, 2, 3, 8)},
        "2 latent frames, 1×2 tokens, 3 channels": {"y": torch.arange(48.0).reshape(2, 1, 2, 12)},
    }


def _channel_slowest(y: Tensor) -> Tensor:
    return rearrange(y, "t h w (c ph pw) -> c t (h ph) (w pw)", ph=2, pw=2)


def _rows_and_columns_exchanged(y: Tensor) -> Tensor:
    return rearrange(y, "t h w (pw ph c) -> c t (h ph) (w pw)", ph=2, pw=2)


def _patches_far_apart(y: Tensor) -> Tensor:
    return rearrange(y, "t h w (ph pw c) -> c t (ph h) (pw w)", ph=2, pw=2)


def _channel_in_the_middle(y: Tensor) -> Tensor:
    return rearrange(y, "t h w (ph c pw) -> c t (h ph) (w pw)", ph=2, pw=2)


unpatchify = Exercise(
    task="Tokens back into latents",
    solution=_unpatchify,
    cases=_token_cases,
    mistakes=(
        Mistake(
            answer=_channel_slowest, hint="this is the order of the way in; on the way out the channel is the fastest"
        ),
        Mistake(
            answer=_rows_and_columns_exchanged, hint="each patch is transposed: its row is slower than its column"
        ),
        Mistake(
            answer=_patches_far_apart,
            hint="the four values of a token must be neighbors: which of (h ph) is the slower index?",
        ),
        Mistake(
            answer=_channel_in_the_middle, hint="the column is still faster than the channel: exchange these two"
        ),
    ),
    tolerance=0.0,
    xlabel="element of the latents",
    ylabel="value",
)


def _sublayer(x: Tensor, f: Sublayer, shift: Tensor, scale: Tensor, gate: Tensor) -> Tensor:
    return x + gate * f(modulate(x, shift, scale))


def _f(y: Tensor) -> Tensor:
    """A stand-in for attention or MLP: it mixes the features and is not linear."""
    return torch.sin(y) + y.roll(1, dims=-1)


def _sublayer_cases() -> dict[str, dict[str, object]]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x = 2 * draw(3, 6) + 1
    ordinary = {"x": x, "f": _f, "shift": draw(6), "scale": draw(6), "gate": draw(6)}
    closed = {"x": x, "f": _f, "shift": draw(6), "scale": draw(6), "gate": torch.zeros(6, dtype=torch.float64)}
    return {"3 tokens of 6 features": ordinary, "a closed gate": closed}


def _norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def _no_residual(x: Tensor, f: Sublayer, shift: Tensor, scale: Tensor, gate: Tensor) -> Tensor:
    return gate * f(modulate(x, shift, scale))


def _scale_without_one(x: Tensor, f: Sublayer, shift: Tensor, scale: Tensor, gate: Tensor) -> Tensor:
    return x + gate * f(_norm(x) * scale + shift)


def _shift_and_scale_exchanged(x: Tensor, f: Sublayer, shift: Tensor, scale: Tensor, gate: Tensor) -> Tensor:
    return x + gate * f(modulate(x, scale, shift))


def _no_norm(x: Tensor, f: Sublayer, shift: Tensor, scale: Tensor, gate: Tensor) -> Tensor:
    return x + gate * f(x * (1 + scale) + shift)


def _gate_around_everything(x: Tensor, f: Sublayer, shift: Tensor, scale: Tensor, gate: Tensor) -> Tensor:
    return gate * (x + f(modulate(x, shift, scale)))


def _gate_inside(x: Tensor, f: Sublayer, shift: Tensor, scale: Tensor, gate: Tensor) -> Tensor:
    return x + f(gate * modulate(x, shift, scale))


def _residual_from_the_norm(x: Tensor, f: Sublayer, shift: Tensor, scale: Tensor, gate: Tensor) -> Tensor:
    y = modulate(x, shift, scale)
    return y + gate * f(y)


sublayer = Exercise(
    task="A sub-layer that the noise level modulates",
    solution=_sublayer,
    cases=_sublayer_cases,
    mistakes=(
        Mistake(answer=_no_residual, hint="where is x? With a closed gate the tokens must come out unchanged"),
        Mistake(answer=_scale_without_one, hint="a scale of 0 shall mean “unchanged”: what do you multiply by then?"),
        Mistake(answer=_shift_and_scale_exchanged, hint="one of the two multiplies and the other is added: which?"),
        Mistake(answer=_no_norm, hint="the tokens enter f as they are; normalise them first, each over its features"),
        Mistake(answer=_gate_around_everything, hint="the gate closes the sub-layer, not the road past it"),
        Mistake(answer=_gate_inside, hint="the gate belongs behind f: it weighs the answer, not the question"),
        Mistake(answer=_residual_from_the_norm, hint="the road past f carries x itself, not its modulated norm"),
    ),
    tolerance=1e-9,
    xlabel="feature of a token",
    ylabel="value after the sub-layer",
)
