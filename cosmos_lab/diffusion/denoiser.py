"""From a network to a denoiser: preconditioning, guidance and conditional latent frames around its evaluations."""

from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from einops import rearrange, repeat
from torch import Tensor

from cosmos_lab.diffusion.conditioning import Condition
from cosmos_lab.diffusion.guidance import Guidance
from cosmos_lab.diffusion.parametrization import Coefficients, Parametrization

Precision = Literal["float32", "mixed", "network"]
GuidedQuantity = Literal["x0", "output"]


class Network(Protocol):
    """x (B, C, T, H, W), timesteps (B,) or (B, T), text (B, N, D) -> (B, C, T, H, W)."""

    def __call__(
        self,
        x: Tensor,
        timesteps: Tensor,
        text: Tensor,
        *,
        condition_mask: Tensor | None = None,
        padding_mask: Tensor | None = None,
        fps: Tensor | float | None = None,
    ) -> Tensor: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Denoiser:
    """D(x, sigma) -> x0 for latents x (B, C, T, H, W) and one sigma, or one for each sample (B,).

    `precision` is where a network in bfloat16 meets the rest (all three are one in float32):
    "float32", Predict2, 2.5: state, coefficients and x0 in float32, rounded to enter the network;
    "mixed", Predict1: float32 coefficients, guidance and c_out * F in the network's dtype, their sum in float32;
    "network", Cosmos-1.0: everything in the network's dtype.
    `guided` is what guidance combines: x0, or the network's output (Predict1, 2.5), equal but for rounding.
    `batch_guidance` evaluates both branches as one batch, the official way is one after the other.
    """

    net: Network = field(repr=False)
    parametrization: Parametrization
    text: tuple[Tensor, ...] = field(repr=False)
    guidance: Guidance | None = None
    condition: Condition | None = None
    padding_mask: Tensor | None = field(default=None, repr=False)
    fps: Tensor | float | None = None
    batch_guidance: bool = True
    guided: GuidedQuantity = "x0"
    precision: Precision = "float32"
    dtype: torch.dtype = torch.float32

    def __call__(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        sigma = torch.as_tensor(sigma, dtype=torch.float64, device="cpu")
        c = self._coefficients(sigma, x)
        state = x.to(torch.float32 if self.precision == "float32" else self.dtype)
        branches = range(self._branches(sigma))
        inputs = [self._input(state, sigma=sigma, c_in=c.c_in, branch=branch) for branch in branches]
        outputs = self._evaluate(inputs, self._timesteps(c.c_noise, x))
        if self.precision == "float32":
            outputs = [output.to(torch.float32) for output in outputs]
        if self.guided == "output":
            outputs = [self._guide(outputs)]
        x0 = self._guide([self._x0(output, x=state, sigma=sigma, c=c) for output in outputs])
        return x0 if self.condition is None else self.condition.x0(x0, sigma)

    def _branches(self, sigma: Tensor) -> int:
        """The conditional one alone where guidance is off, at all noise levels or at these."""
        return 1 if len(self.text) == 1 or bool((sigma < self.guidance.least_sigma).all()) else len(self.text)

    def _coefficients(self, sigma: Tensor, x: Tensor) -> Coefficients:
        dtype = self.dtype if self.precision == "network" else torch.float32
        c = self.parametrization.coefficients(sigma, dtype=dtype)
        if sigma.ndim == 0:
            # Zero-dimensional coefficients leave the dtype of what they multiply alone, which "mixed" relies on.
            return c
        scales = [rearrange(scale.to(x.device), "b -> b 1 1 1 1") for scale in (c.c_skip, c.c_out, c.c_in)]
        return Coefficients(*scales, c_noise=c.c_noise)

    def _input(self, x: Tensor, *, sigma: Tensor, c_in: Tensor, branch: int) -> Tensor:
        if self.condition is not None:
            x = self.condition.noisy_input(x, sigma, branch).to(x.dtype)
        scaled = x * c_in
        scaled = scaled if self.condition is None else self.condition.network_input(scaled)
        return scaled.to(self.dtype)

    def _timesteps(self, c_noise: Tensor, x: Tensor) -> Tensor:
        t = c_noise.to(x.device).expand(x.shape[0])
        t = t if self.condition is None else self.condition.timesteps(t)
        t = t.expand(x.shape[0], *t.shape[1:])
        return t.to(self.parametrization.timestep_dtype or self.dtype)

    def _evaluate(self, inputs: list[Tensor], timesteps: Tensor) -> list[Tensor]:
        """The network on each branch, as one batch or one by one."""
        heard = self.text[: len(inputs)]
        if not self.batch_guidance or len(inputs) == 1:
            return [self._call(x, timesteps, text, copies=1) for x, text in zip(inputs, heard, strict=True)]
        batch = inputs[0].shape[0]
        texts = [_to_batch(text, batch) for text in heard]
        times = repeat(timesteps, "b ... -> (n b) ...", n=len(inputs))
        return list(self._call(torch.cat(inputs), times, torch.cat(texts), copies=len(inputs)).chunk(len(inputs)))

    def _call(self, x: Tensor, timesteps: Tensor, text: Tensor, *, copies: int) -> Tensor:
        mask = None if self.condition is None else self.condition.mask.expand(-1, -1, -1, *x.shape[3:])
        return self.net(
            x,
            timesteps,
            _to_batch(text, x.shape[0]).to(x),
            condition_mask=_tile(mask, like=x, copies=copies),
            padding_mask=_tile(self.padding_mask, like=x, copies=copies),
            fps=self.fps,
        )

    def _x0(self, output: Tensor, *, x: Tensor, sigma: Tensor, c: Coefficients) -> Tensor:
        if self.condition is not None:
            output = self.condition.output(output, x, sigma, c)
        x = x.to(torch.float32) if self.precision == "mixed" else x
        return c.c_skip * x + c.c_out * output

    def _guide(self, branches: list[Tensor]) -> Tensor:
        return branches[0] if len(branches) == 1 else self.guidance(*branches)


def make_denoiser(
    net: Network,
    parametrization: Parametrization,
    text: Tensor,
    negative: Tensor | None = None,
    guidance: Guidance | None = None,
    condition: Condition | None = None,
    *,
    padding_mask: Tensor | None = None,
    fps: Tensor | float | None = None,
    batch_guidance: bool = True,
    guided: GuidedQuantity = "x0",
    precision: Precision = "float32",
    dtype: torch.dtype | None = None,
) -> Denoiser:
    """Builds D(x, sigma) -> x0 from a network.

    text, negative: embeddings (B or 1, N, D); without a negative one the unconditional branch sees zeros, which is
    what the networks were trained with. guidance: None, or one that is off, evaluates the conditional branch only.
    condition: conditional latent frames, the same in both branches; its mask goes to the network.
    fps: one for the batch. dtype: the network's, by default that of its first parameter.
    Raises ValueError when text and negative differ in shape.
    """
    negative = torch.zeros_like(text) if negative is None else negative
    if negative.shape[1:] != text.shape[1:]:
        raise ValueError(f"text is {tuple(text.shape)} but negative is {tuple(negative.shape)}: encode them alike")
    return Denoiser(
        net=net,
        parametrization=parametrization,
        text=(text,) if guidance is None or guidance.is_off else (text, negative),
        guidance=guidance,
        condition=condition,
        padding_mask=padding_mask,
        fps=fps,
        batch_guidance=batch_guidance,
        guided=guided,
        precision=precision,
        dtype=dtype or _dtype_of(net),
    )


def _dtype_of(net: Network) -> torch.dtype:
    """The dtype of a module's first parameter; float32 for a plain function."""
    if not isinstance(net, torch.nn.Module):
        return torch.float32
    return next((parameter.dtype for parameter in net.parameters()), torch.float32)


def _tile(values: Tensor | None, *, like: Tensor, copies: int) -> Tensor | None:
    """A mask of 1 or B entries for every sample of every branch, in the place and dtype of the network's input."""
    if values is None:
        return None
    return repeat(_to_batch(values, like.shape[0] // copies), "b ... -> (n b) ...", n=copies).to(like)


def _to_batch(values: Tensor, batch: int) -> Tensor:
    if values.shape[0] not in (1, batch):
        raise ValueError(f"a batch of {batch} needs one entry or {batch} of each condition, not {values.shape[0]}")
    return values.expand(batch, *values.shape[1:])
