"""The mathematics of diffusion: what a network predicts, noise levels, solvers, guidance, conditional latent frames."""

from cosmos_lab.diffusion.churn import Churn
from cosmos_lab.diffusion.conditioning import (
    AugmentedFrames,
    Condition,
    FrameReplacement,
    Predict1Frames,
    VelocityReplacement,
    conditioning_clip,
    frame_mask,
)
from cosmos_lab.diffusion.denoiser import Denoiser, make_denoiser
from cosmos_lab.diffusion.difference import Difference
from cosmos_lab.diffusion.guidance import Guidance
from cosmos_lab.diffusion.parametrization import EDM, Coefficients, Flow, RectifiedFlow
from cosmos_lab.diffusion.schedules import (
    diffusers_karras,
    distilled,
    flow_karras,
    flow_shifted,
    karras,
    predict1_karras,
    sdedit_start,
)
from cosmos_lab.diffusion.solvers import Step, ab2, consistency, euler, heun, midpoint, sample
from cosmos_lab.diffusion.unipc import unipc

__all__ = [
    "EDM",
    "AugmentedFrames",
    "Churn",
    "Coefficients",
    "Condition",
    "Denoiser",
    "Difference",
    "Flow",
    "FrameReplacement",
    "Guidance",
    "Predict1Frames",
    "RectifiedFlow",
    "Step",
    "VelocityReplacement",
    "ab2",
    "conditioning_clip",
    "consistency",
    "diffusers_karras",
    "distilled",
    "euler",
    "flow_karras",
    "flow_shifted",
    "frame_mask",
    "heun",
    "karras",
    "make_denoiser",
    "midpoint",
    "predict1_karras",
    "sample",
    "sdedit_start",
    "unipc",
]
