import pytest
import torch
from diffusion.analytic import RecordingNetwork

from cosmos_lab.diffusion import (
    EDM,
    AugmentedFrames,
    Flow,
    FrameReplacement,
    Guidance,
    RectifiedFlow,
    VelocityReplacement,
    ab2,
    conditioning_clip,
    flow_karras,
    frame_mask,
    karras,
    make_denoiser,
    sample,
    unipc,
)
from cosmos_lab.nn.frame_counts import latent_frames

SHAPE = (1, 4, 5, 2, 3)
TEXT = torch.full((1, 2, 3), 0.25)


@pytest.fixture
def latents(generator):
    return torch.randn(SHAPE, generator=generator)


@pytest.fixture
def noise(generator):
    return torch.randn(SHAPE, generator=generator)


@pytest.fixture
def net():
    return RecordingNetwork()


def test_frame_replacement_follows_its_equations(latents, noise, net):
    """input = gt m + (x c_in)(1-m), x0 = gt m + (c_skip x + c_out F)(1-m), recomputed here from the sheet."""
    sigma, x = 3.0, latents + 3.0 * noise
    mask = frame_mask(latents, 2)
    x0 = make_denoiser(net, RectifiedFlow(), TEXT, condition=FrameReplacement(latents=latents, mask=mask))(x, sigma)
    t = sigma / (1 + sigma)
    torch.testing.assert_close(net.calls[0]["x"], latents * mask + (x * (1 - t)) * (1 - mask))
    times = torch.tensor([[1e-4 / (1 + 1e-4)] * 2 + [t] * 3])
    torch.testing.assert_close(net.calls[0]["timesteps"], times)
    assert torch.equal(net.calls[0]["condition_mask"], mask)
    output = net(net.calls[0]["x"], times, TEXT, condition_mask=mask)
    torch.testing.assert_close(x0, latents * mask + ((1 - t) * x - t * output) * (1 - mask))


def test_frame_replacement_ends_in_exactly_the_given_latents(latents, noise, net):
    condition = FrameReplacement(latents=latents, mask=frame_mask(latents, 2))
    denoise = make_denoiser(net, RectifiedFlow(), TEXT, guidance=Guidance(7.0), condition=condition)
    final = sample(ab2(denoise, noise * 80, karras(4)))
    assert torch.equal(final[:, :, :2], latents[:, :, :2]) and not torch.allclose(final[:, :, 2:], latents[:, :, 2:])


def test_both_branches_of_guidance_see_the_given_latent_frames(latents, noise, net):
    mask = frame_mask(latents, 1)
    condition = FrameReplacement(latents=latents, mask=mask)
    denoise = make_denoiser(
        net, RectifiedFlow(), TEXT, guidance=Guidance(7.0), condition=condition, batch_guidance=False
    )
    denoise(noise * 80, 80.0)
    cond, uncond = net.calls
    assert torch.equal(cond["x"], uncond["x"]) and torch.equal(cond["condition_mask"], uncond["condition_mask"])
    assert not torch.equal(cond["text"], uncond["text"]) and uncond["text"].abs().max() == 0


def test_museum_1_the_last_pixel_frames_condition_not_the_first():
    """A video whose pixel frames count up: a continuation begins with its last ones, in their order."""
    video = torch.arange(20.0).reshape(1, 1, 20, 1, 1).expand(1, 3, 20, 2, 2)
    clip = conditioning_clip(video, num_conditional_pixel_frames=5, num_pixel_frames=9)
    assert clip[0, 0, :, 0, 0].tolist() == [15, 16, 17, 18, 19, 19, 19, 19, 19]
    mutant = video[:, :, :5]
    assert not torch.equal(clip[:, :, :5], mutant)
    black = conditioning_clip(video, num_conditional_pixel_frames=1, num_pixel_frames=3, fill=-1.0)
    assert black[0, 0, :, 0, 0].tolist() == [19, -1, -1]


def test_too_few_pixel_frames_are_refused():
    with pytest.raises(ValueError, match="5 conditional pixel frames"):
        conditioning_clip(torch.zeros(1, 3, 4, 2, 2), num_conditional_pixel_frames=5, num_pixel_frames=9)


def test_museum_2_an_overlap_in_pixel_frames_is_not_one_in_latent_frames(latents):
    """At 1 both units agree, which hides the bug; 5 pixel frames are 2 latent frames (4x), and so are 9 (8x)."""
    for pixel_frames, factor, expected in ((1, 4, 1), (5, 4, 2), (9, 8, 2), (9, 4, 3), (17, 8, 3)):
        mask = frame_mask(latents, latent_frames(pixel_frames, factor))
        assert mask[0, 0, :, 0, 0].sum() == expected
        if pixel_frames > 5:
            with pytest.raises(ValueError, match="pixel frames"):
                frame_mask(latents, pixel_frames)  # the mutant: pixel frames passed on as latent frames
    assert frame_mask(latents, 5).sum() != frame_mask(latents, latent_frames(5, 4)).sum()


def test_museum_3_given_and_noisy_latent_frames_have_timesteps_of_their_own(latents, noise, net):
    mask = frame_mask(latents, 2)
    make_denoiser(net, RectifiedFlow(), TEXT, condition=FrameReplacement(latents=latents, mask=mask))(noise, 80.0)
    given, free = net.calls[0]["timesteps"][0, :2], net.calls[0]["timesteps"][0, 2:]
    assert given.max() < 2e-4 and free.min() > 0.98
    mutant = net.calls[0]["timesteps"].max().expand(1, 5)  # one timestep for all latent frames
    shared = net(net.calls[0]["x"], mutant, TEXT, condition_mask=mask)
    own = net(net.calls[0]["x"], net.calls[0]["timesteps"], TEXT, condition_mask=mask)
    assert (shared - own)[:, :, :2].abs().max() > 0.05


def test_the_conditional_timestep_belongs_to_sigma_conditional(latents, noise, net):
    """Given latent frames at sigma 1 are half noise: their timestep is t = sigma / (1 + sigma) = 1/2."""
    condition = FrameReplacement(latents=latents, mask=frame_mask(latents, 2), sigma_conditional=1.0)
    make_denoiser(net, RectifiedFlow(), TEXT, condition=condition)(noise, 80.0)
    assert net.calls[0]["timesteps"][0, :2].tolist() == [0.5, 0.5]


def test_museum_4_the_conditional_timestep_has_the_units_of_the_others(latents, noise, net):
    """Predict2.5 counts timesteps to 1000; its 0.1 for given latent frames is nearly clean. As a sigma it were 100."""
    condition = VelocityReplacement(latents=latents, mask=frame_mask(latents, 2), initial_noise=noise)
    make_denoiser(net, Flow(), TEXT, condition=condition)(noise, 0.995025)
    assert net.calls[0]["timesteps"].tolist() == [[pytest.approx(0.1), pytest.approx(0.1), 995, 995, 995]]
    scaled = net.calls[0]["timesteps"] * 0.001  # what the network's timestep_scale makes of them
    assert scaled[0, 0] == pytest.approx(1e-4) and scaled[0, 0] < 1e-3 * scaled[0, -1]
    mutant = VelocityReplacement(latents=latents, mask=condition.mask, initial_noise=noise, timestep=0.1 * 1000)
    make_denoiser(net, Flow(), TEXT, condition=mutant)(noise, 0.995025)
    assert net.calls[1]["timesteps"][0, 0] * 0.001 > 0.05


def test_velocity_replacement_follows_the_straight_line_to_near_the_latents(latents, noise, net):
    """It ends at x_gt + (1 - sigma_0)(eps - x_gt), with sigma_0 the first level: the official half percent."""
    sigmas = flow_karras(6)
    condition = VelocityReplacement(latents=latents, mask=frame_mask(latents, 2), initial_noise=noise)
    denoise = make_denoiser(net, Flow(), TEXT, guidance=Guidance(7.0), condition=condition, guided="output")
    final = sample(unipc(denoise, noise, sigmas))[:, :, :2]
    expected = latents + (1 - sigmas[0].item()) * (noise - latents)
    torch.testing.assert_close(final, expected[:, :, :2], atol=1e-5, rtol=0)
    assert not torch.allclose(final, latents[:, :, :2], atol=1e-3)


def test_velocity_replacement_without_a_timestep_of_its_own(latents, noise, net):
    """The pre-trained models share one timestep, so it stays one for each sample."""
    condition = VelocityReplacement(latents=latents, mask=frame_mask(latents, 2), initial_noise=noise, timestep=None)
    make_denoiser(net, Flow(), TEXT, condition=condition)(noise, 0.9998)
    assert net.calls[0]["timesteps"].tolist() == [999.0]


def test_augmented_frames_enter_the_network_at_their_own_noise_level(latents, noise, net):
    """After c_in(sigma), the given latent frames are (z + s n) c_in(s): the same at every sigma."""
    condition = AugmentedFrames(latents=latents, mask=frame_mask(latents, 2), noise=noise)
    denoise = make_denoiser(net, EDM(0.5), TEXT, condition=condition, precision="network")
    x0 = [denoise(noise * sigma, sigma) for sigma in (80.0, 0.5)]
    expected = (latents + 0.001 * noise) / (0.001**2 + 0.25) ** 0.5
    for call in net.calls:
        torch.testing.assert_close(call["x"][:, :, :2], expected[:, :, :2], atol=2e-6, rtol=1e-6)
        assert call["timesteps"].ndim == 1
    for estimate in x0:
        assert torch.equal(estimate[:, :, :2], latents[:, :, :2])


def test_augmented_frames_are_released_below_their_noise_level(latents, noise, net):
    condition = AugmentedFrames(latents=latents, mask=frame_mask(latents, 2), noise=noise)
    with_frames = make_denoiser(net, EDM(0.5), TEXT, condition=condition)(latents, 0.0005)
    assert not torch.allclose(with_frames[:, :, :2], latents[:, :, :2], atol=1e-5)
    torch.testing.assert_close(net.calls[0]["x"], latents * (1 / (0.0005**2 + 0.25) ** 0.5))


def test_augmented_frames_can_draw_anew_for_every_evaluation(latents, noise, net):
    """diffusers' convention: another draw for each sigma and branch."""
    asked = []

    def draw(sigma, branch):
        asked.append((sigma, branch))
        return noise * (1 + branch)

    condition = AugmentedFrames(latents=latents, mask=frame_mask(latents, 1), noise=draw)
    make_denoiser(net, EDM(0.5), TEXT, guidance=Guidance(7.0), condition=condition, batch_guidance=False)(noise, 5.0)
    assert asked == [(5.0, 0), (5.0, 1)]
    assert not torch.equal(net.calls[0]["x"][:, :, :1], net.calls[1]["x"][:, :, :1])
    assert torch.equal(net.calls[0]["x"][:, :, 1:], net.calls[1]["x"][:, :, 1:])


def test_the_official_augmentation_level_is_rounded_to_bfloat16(latents):
    given = {"latents": latents, "mask": frame_mask(latents, 1), "noise": torch.zeros(SHAPE)}
    exact = AugmentedFrames(**given).noisy_input(latents, torch.tensor(1.0), 0)
    official = AugmentedFrames(**given, augment_dtype=torch.bfloat16).noisy_input(latents, torch.tensor(1.0), 0)
    # c_in(0.001) = 1.999996 is 2 in bfloat16: a ratio of 1 + 2e-6.
    assert official[:, :, :1].norm() > exact[:, :, :1].norm()


def test_shapes_that_do_not_match_are_refused(latents):
    with pytest.raises(ValueError, match="same T"):
        FrameReplacement(latents=latents, mask=torch.ones(1, 1, 4, 2, 3))
