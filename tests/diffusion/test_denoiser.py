import pytest
import torch
from diffusion.analytic import RecordingNetwork

from cosmos_lab.diffusion import (
    EDM,
    Flow,
    FrameReplacement,
    Guidance,
    RectifiedFlow,
    ab2,
    frame_mask,
    karras,
    make_denoiser,
    sample,
)
from cosmos_lab.nn.dit import DiT, DiTConfig


@pytest.fixture
def given(generator):
    """A batch of two: latents, noise, text and negative text."""
    latents, noise = torch.randn(2, 2, 4, 3, 4, 6, generator=generator)
    text, negative = torch.randn(2, 2, 5, 8, generator=generator)
    return latents, noise, text, negative


def test_unguided_denoiser_is_the_preconditioning(given):
    latents, noise, text, _ = given
    net, x = RecordingNetwork(), latents + 3.0 * noise
    for parametrization in (EDM(0.5), RectifiedFlow()):
        c_skip, c_out, c_in, c_noise = parametrization.coefficients(torch.tensor(3.0))
        expected = c_skip * x + c_out * net(c_in * x, c_noise.expand(2), text)
        assert torch.equal(make_denoiser(net, parametrization, text)(x, 3.0), expected)


@pytest.mark.parametrize("guided", ["x0", "output"])
@pytest.mark.parametrize("condition", [False, True])
def test_one_batched_call_equals_two(given, guided, condition):
    latents, noise, text, negative = given
    frames = FrameReplacement(latents=latents, mask=frame_mask(latents, 1)) if condition else None
    estimates = []
    for batch_guidance in (True, False):
        net = RecordingNetwork()
        denoise = make_denoiser(
            net, RectifiedFlow(), text, negative, Guidance(7.0), frames, guided=guided, batch_guidance=batch_guidance,
            padding_mask=torch.zeros(1, 1, 32, 48), fps=16.0,
        )  # fmt: skip
        estimates.append(denoise(noise * 80, 80.0))
        assert len(net.calls) == (1 if batch_guidance else 2)
        assert net.calls[0]["padding_mask"].shape[0] == net.calls[0]["x"].shape[0] and net.calls[0]["fps"] == 16.0
    # A batched kernel may sum in another order; a pointwise network leaves float32 rounding times the guidance.
    torch.testing.assert_close(*estimates, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("batch_guidance", [True, False])
def test_a_real_network_guided_in_one_batch_or_two_calls(generator, batch_guidance):
    """On a small DiT with conditional latent frames: sample i does not depend on its batch either way."""
    config = DiTConfig(width=32, num_blocks=1, num_heads=2, adaln_rank=8, text_width=8, condition_mask=True)
    net = DiT(config).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    latents, noise = torch.randn(2, 2, 16, 3, 4, 6, generator=generator)
    text = torch.randn(2, 5, 8, generator=generator)

    def run(rows):
        frames = FrameReplacement(latents=latents[rows], mask=frame_mask(latents, 1))
        denoise = make_denoiser(
            net, RectifiedFlow(), text[rows], None, Guidance(4.0), frames, batch_guidance=batch_guidance
        )
        with torch.no_grad():
            return sample(ab2(denoise, noise[rows] * 80, karras(3)))

    both = run(slice(0, 2))
    for i in range(2):
        # float32 sums in another order, amplified by guidance 4 over four evaluations.
        torch.testing.assert_close(both[i : i + 1], run(slice(i, i + 1)), atol=2e-3, rtol=1e-3)


def test_guidance_on_x0_or_on_the_output_is_the_same_in_exact_arithmetic(given):
    latents, noise, text, negative = given
    x = latents + 3.0 * noise
    estimates = [
        make_denoiser(RecordingNetwork(), EDM(0.5), text, negative, Guidance(7.0), guided=guided)(x, 3.0)
        for guided in ("x0", "output")
    ]
    torch.testing.assert_close(*estimates, atol=2e-5, rtol=1e-5)


def test_guidance_that_is_off_costs_one_evaluation(given):
    _, noise, text, negative = given
    net = RecordingNetwork()
    unguided = make_denoiser(net, RectifiedFlow(), text)(noise, 2.0)
    off = make_denoiser(net, RectifiedFlow(), text, negative, Guidance(1.0, "uncond"))(noise, 2.0)
    assert torch.equal(unguided, off) and all(call["x"].shape[0] == 2 for call in net.calls)


@pytest.mark.parametrize("batch_guidance", [True, False])
def test_below_its_least_sigma_guidance_is_off_and_costs_one_evaluation(given, batch_guidance):
    latents, noise, text, negative = given
    net, x = RecordingNetwork(), latents + 3.0 * noise
    options = {"text": text, "negative": negative, "batch_guidance": batch_guidance}
    always = make_denoiser(net, RectifiedFlow(), guidance=Guidance(3.0), **options)
    ends = make_denoiser(net, RectifiedFlow(), guidance=Guidance(3.0, least_sigma=0.5), **options)
    alone = make_denoiser(net, RectifiedFlow(), text)
    for sigma in (0.5, 2.0, torch.tensor([0.4, 0.6])):
        assert torch.equal(ends(x, sigma), always(x, sigma))
    net.calls.clear()
    assert torch.equal(ends(x, 0.49), alone(x, 0.49)) and not torch.equal(ends(x, 0.49), always(x, 0.49))
    assert len(net.calls) == (4 if batch_guidance else 5) and len(net.calls[0]["x"]) == len(latents)


def test_one_sigma_for_each_sample(given):
    latents, noise, text, _ = given
    sigmas = torch.tensor([5.0, 0.3], dtype=torch.float64)
    denoise = make_denoiser(RecordingNetwork(), RectifiedFlow(), text)
    together = denoise(latents + sigmas.float()[:, None, None, None, None] * noise, sigmas)
    for i, sigma in enumerate(sigmas):
        alone = make_denoiser(RecordingNetwork(), RectifiedFlow(), text[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone((latents + sigma.float() * noise)[i : i + 1], sigma))


def test_float32_precision_around_a_bfloat16_network(given):
    """Predict2: only the network's input and timestep are rounded; state, coefficients and x0 stay float32."""
    latents, noise, text, _ = given
    net, x = RecordingNetwork(torch.bfloat16), latents + 3.0 * noise
    x0 = make_denoiser(net, RectifiedFlow(), text)(x, 3.0)
    call = net.calls[0]
    assert call["x"].dtype == call["timesteps"].dtype == call["text"].dtype == torch.bfloat16
    c_skip, c_out, c_in, t = RectifiedFlow().coefficients(torch.tensor(3.0))
    assert torch.equal(call["x"], (x * c_in).bfloat16()) and torch.equal(call["timesteps"], t.bfloat16().expand(2))
    output = net((x * c_in).bfloat16(), t.bfloat16().expand(2), text.bfloat16())
    assert x0.dtype == torch.float32 and torch.equal(x0, c_skip * x + c_out * output.float())


def test_float32_precision_guides_float32_velocities(given):
    """Predict2.5 guides the velocity in float32: in bfloat16, c + 7 (c - u) would round thrice."""
    latents, noise, text, negative = given
    net = RecordingNetwork(torch.bfloat16)
    denoise = make_denoiser(net, Flow(), text, negative, Guidance(7.0), guided="output", batch_guidance=False)
    x0 = denoise(noise, 0.5)
    cond, uncond = (net(**{**call, "fps": None}).float() for call in net.calls[:2])
    assert torch.equal(x0, noise - 0.5 * (cond + 7 * (cond - uncond)))
    assert net.calls[0]["timesteps"].dtype == torch.float32


def test_network_precision_rounds_everything(given):
    """Cosmos-1.0: sigma and the coefficients are computed in bfloat16, and so is x0."""
    latents, noise, text, _ = given
    net, x = RecordingNetwork(torch.bfloat16), (latents + 3.1 * noise).double()
    x0 = make_denoiser(net, EDM(0.5), text, precision="network")(x, 3.1)
    c_skip, c_out, c_in, c_noise = EDM(0.5).coefficients(torch.tensor(3.1).bfloat16())
    assert c_in.dtype == torch.bfloat16 and x0.dtype == torch.bfloat16
    narrow = x.bfloat16()
    assert torch.equal(x0, c_skip * narrow + c_out * net(narrow * c_in, c_noise.expand(2), text.bfloat16()))


def test_text_of_another_shape_is_refused(given):
    _, noise, text, negative = given
    with pytest.raises(ValueError, match="encode them alike"):
        make_denoiser(RecordingNetwork(), RectifiedFlow(), text, negative[:, :3], Guidance(7.0))
    with pytest.raises(ValueError, match="batch of 2"):
        make_denoiser(RecordingNetwork(), RectifiedFlow(), text.repeat(2, 1, 1)[:3])(noise, 1.0)
