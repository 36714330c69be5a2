"""Exercises of notebook 05: which latent frames are given, and how Predict2.5 keeps them on their line."""

from collections.abc import Callable

import torch
from torch import Tensor

from cosmos_lab.noise import keyed
from cosmos_lab.notebook.exercise import Exercise, Mistake

Net = Callable[[Tensor, float], Tensor]


def _first(count: int, num_latent_frames: int) -> Tensor:
    return (torch.arange(num_latent_frames) < count).float()


def _mask(num_conditional_pixel_frames: int, num_latent_frames: int) -> Tensor:
    count = 0 if num_conditional_pixel_frames == 0 else 1 + (num_conditional_pixel_frames - 1) // 4
    return _first(count, num_latent_frames)


def _mask_cases() -> dict[str, dict[str, object]]:
    return {
        "5 pixel frames": {"num_conditional_pixel_frames": 5, "num_latent_frames": 9},
        "1 pixel frame": {"num_conditional_pixel_frames": 1, "num_latent_frames": 9},
        "none": {"num_conditional_pixel_frames": 0, "num_latent_frames": 9},
        "9 pixel frames": {"num_conditional_pixel_frames": 9, "num_latent_frames": 5},
    }


def _pixels_as_latents(num_conditional_pixel_frames: int, num_latent_frames: int) -> Tensor:
    return _first(num_conditional_pixel_frames, num_latent_frames)


def _no_first_frame(num_conditional_pixel_frames: int, num_latent_frames: int) -> Tensor:
    return _first(num_conditional_pixel_frames // 4, num_latent_frames)


def _inverted(num_conditional_pixel_frames: int, num_latent_frames: int) -> Tensor:
    return 1 - _mask(num_conditional_pixel_frames, num_latent_frames)


def _at_the_end(num_conditional_pixel_frames: int, num_latent_frames: int) -> Tensor:
    return _mask(num_conditional_pixel_frames, num_latent_frames).flip(0)


def _never_none(num_conditional_pixel_frames: int, num_latent_frames: int) -> Tensor:
    return _first(1 + max(num_conditional_pixel_frames - 1, 0) // 4, num_latent_frames)


mask_from_count = Exercise(
    task="Which latent frames are given",
    solution=_mask,
    cases=_mask_cases,
    mistakes=(
        Mistake(answer=_pixels_as_latents, hint="you marked that many latent frames, but the count is in pixel frames"),
        Mistake(answer=_no_first_frame, hint="the first latent frame holds 1 pixel frame, not 4: how many do 5 need?"),
        Mistake(answer=_inverted, hint="inverted: 1 stands for given, 0 for what is to be generated"),
        Mistake(answer=_at_the_end, hint="the given latent frames open the clip; yours close it"),
        Mistake(answer=_never_none, hint="with no given pixel frame, no latent frame is given either"),
    ),
    tolerance=1e-6,
    xlabel="latent frame",
    ylabel="mask",
)


def _net(x: Tensor, sigma: float) -> Tensor:
    """A stand-in for the network: like attention, each latent frame's answer depends on all of them."""
    return torch.tanh(x + 2 * x.mean(0)) * (0.5 + sigma)


def _velocity_cases() -> dict[str, dict[str, object]]:
    def case(seed: int, given: int, sigma: float, sigma_next: float) -> dict[str, object]:
        # One channel of 2 x 2 latents in 5 latent frames.
        x, noise, latents = (keyed(seed, (1, 1, 5, 2, 2), purpose=p)[0, 0] for p in ("state", "noise", "latents"))
        mask = _first(given, 5)[:, None, None]
        state = mask * ((1 - sigma) * latents + sigma * noise) + (1 - mask) * x
        return {"net": _net, "x": state, "sigma": sigma, "sigma_next": sigma_next, "noise": noise,
                "latents": latents, "mask": mask}  # fmt: skip

    return {
        "2 given, from σ = 0.8 to 0.5": case(0, 2, 0.8, 0.5),
        "1 given, the last step": case(1, 1, 0.3, 0.0),
        "none given": case(2, 0, 0.9, 0.7),
    }


def _step(net: Net, x: Tensor, sigma: float, sigma_next: float, noise: Tensor, latents: Tensor, mask: Tensor) -> Tensor:
    velocity = net(mask * latents + (1 - mask) * x, sigma)
    return x + (sigma_next - sigma) * (mask * (noise - latents) + (1 - mask) * velocity)


def _backwards(
    net: Net, x: Tensor, sigma: float, sigma_next: float, noise: Tensor, latents: Tensor, mask: Tensor
) -> Tensor:
    velocity = net(mask * latents + (1 - mask) * x, sigma)
    return x + (sigma_next - sigma) * (mask * (latents - noise) + (1 - mask) * velocity)


def _network_sees_noise(
    net: Net, x: Tensor, sigma: float, sigma_next: float, noise: Tensor, latents: Tensor, mask: Tensor
) -> Tensor:
    return x + (sigma_next - sigma) * (mask * (noise - latents) + (1 - mask) * net(x, sigma))


def _network_decides(
    net: Net, x: Tensor, sigma: float, sigma_next: float, noise: Tensor, latents: Tensor, mask: Tensor
) -> Tensor:
    return x + (sigma_next - sigma) * net(mask * latents + (1 - mask) * x, sigma)


def _pasted(
    net: Net, x: Tensor, sigma: float, sigma_next: float, noise: Tensor, latents: Tensor, mask: Tensor
) -> Tensor:
    right = _step(net, x, sigma, sigma_next, noise, latents, mask)
    return mask * latents + (1 - mask) * right


def _wrong_side(
    net: Net, x: Tensor, sigma: float, sigma_next: float, noise: Tensor, latents: Tensor, mask: Tensor
) -> Tensor:
    return _step(net, x, sigma, sigma_next, noise, latents, 1 - mask)


def _towards_noise(
    net: Net, x: Tensor, sigma: float, sigma_next: float, noise: Tensor, latents: Tensor, mask: Tensor
) -> Tensor:
    return 2 * x - _step(net, x, sigma, sigma_next, noise, latents, mask)


velocity_step = Exercise(
    task="One step of Predict2.5, whose given latent frames travel on a straight line",
    solution=_step,
    cases=_velocity_cases,
    mistakes=(
        Mistake(answer=_backwards, hint="the given latent frames move away from the latents: check the sign"),
        Mistake(answer=_network_sees_noise, hint="the network shall see the given latents clean, not the state there"),
        Mistake(answer=_network_decides, hint="in the given latent frames the velocity is known: do not ask"),
        Mistake(answer=_pasted, hint="you paste clean latents into the state; Predict2.5 only replaces the velocity"),
        Mistake(answer=_wrong_side, hint="the mask is used the wrong way round: 1 stands for given"),
        Mistake(answer=_towards_noise, hint="sigma shall fall, so sigma_next - sigma is negative; yours walks up"),
    ),
    tolerance=1e-5,
    xlabel="element of x",
    ylabel="state at sigma_next",
)
