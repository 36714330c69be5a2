import math

import pytest
import torch
from diffusion.analytic import GaussianFlow, GaussianWorld
from golden_files import read_golden

from cosmos_lab.diffusion import (
    EDM,
    Flow,
    Guidance,
    Predict1Frames,
    ab2,
    consistency,
    euler,
    flow_karras,
    flow_shifted,
    frame_mask,
    heun,
    karras,
    make_denoiser,
    midpoint,
    predict1_karras,
    sample,
    sdedit_start,
    unipc,
)
from cosmos_lab.noise import official


def predict2_denoiser(mu):
    """The analytic denoiser of the golden, which takes sigma as float32."""

    def denoise(x, sigma):
        s2 = sigma.float() ** 2
        return (x.float() * 0.25 + mu * s2) / (0.25 + s2) + 0.1 * torch.tanh(x.float() / (1 + sigma.float()))

    return denoise


@pytest.mark.parametrize("num_steps", [35, 10, 4])
def test_ab2_equals_predict2_bit_for_bit(num_steps):
    golden = read_golden("predict2_sampler")
    mu = golden["in/mu"]
    steps = list(ab2(predict2_denoiser(mu), official(7, mu.shape) * 80, karras(num_steps)))
    assert [step.index for step in steps[:-1]] == golden[f"out/timesteps_{num_steps}"].tolist()
    assert torch.equal(torch.stack([step.x for step in steps]), golden[f"out/x_steps_{num_steps}"])
    assert torch.equal(torch.stack([step.x0 for step in steps[:-1]]), golden[f"out/x0_steps_{num_steps}"])
    assert torch.equal(steps[-1].x0, golden[f"out/final_{num_steps}"])


@pytest.mark.parametrize("num_steps", [35, 10, 4])
def test_ab2_with_a_float64_state_equals_the_older_sampler_bit_for_bit(num_steps):
    golden = read_golden("predict2_sampler")
    mu = golden["in/mu"]
    final = sample(ab2(predict2_denoiser(mu), (official(7, mu.shape) * 80).double(), karras(num_steps)))
    assert torch.equal(final, golden[f"out/final_res_sampler_{num_steps}"])


@pytest.mark.parametrize(
    ("run", "solver"),
    [("res_2ab_35", ab2), ("res_2ab_5", ab2), ("res_2mid_10", midpoint), ("res_1euler_8", euler)],
)
def test_cosmos_1_solvers(run, solver):
    golden = read_golden("predict1_sampler_res")

    def net(x, timesteps, text, **_):
        return torch.tanh(0.5 * x + timesteps[0] + text[0, 0, 0]) + 0.1 * x

    denoise = make_denoiser(
        net, EDM(0.5), torch.full((1, 2, 3), 0.25), torch.full((1, 2, 3), -0.125), Guidance(7.0), batch_guidance=False
    )
    x = (golden["in/noise_unit"] * 80).double()
    steps = list(solver(denoise, x, golden[f"in/{run}/sigmas"], final_step="denoise"))
    # States reach 350, where float32 network evaluations are worth 3e-5; the sheet's own check gives 1.6e-5.
    torch.testing.assert_close(torch.stack([s.x for s in steps[1:]]), golden[f"out/{run}/xs"], atol=3e-5, rtol=0)
    torch.testing.assert_close(steps[-1].x0.float(), golden[f"out/{run}/samples"], atol=1e-5, rtol=0)


PREDICT1_RUNS = [
    ("predict1_sampler_edm", "t2w_fp32_35"),
    ("predict1_sampler_edm", "t2w_bf16_35"),
    ("predict1_sampler_edm", "v2w_fp32_35_c1"),
    ("predict1_sampler_edm", "v2w_bf16_35_c2"),
    ("predict1_sampler_edm_v2w_fixed", "v2w_fp32_35_c1"),
    ("predict1_sampler_edm_v2w_fixed", "v2w_bf16_35_c2"),
]


def predict1_net(x, timesteps, text, *, condition_mask=None, padding_mask=None, fps=None):
    inner = 0.5 * x + timesteps[0] + text[0, 0, 0]
    inner = inner if condition_mask is None else inner + 0.25 * condition_mask
    return torch.tanh(inner) + 0.1 * x


def predict1_system(golden, run, *, legacy):
    """Denoiser, condition (None in text2world) and dtype of a recorded run."""
    dtype = torch.bfloat16 if "bf16" in run else torch.float32
    condition = None
    if run.startswith("v2w"):
        latents = golden["in/v2w/condition_latent"].to(dtype)
        mask = frame_mask(latents, int(run[-1]))
        condition = Predict1Frames(latents=latents, mask=mask, noise=golden[f"in/{run}/augment_noise"], legacy=legacy)
    denoise = make_denoiser(
        predict1_net,
        EDM(0.5),
        torch.full((1, 2, 3), 0.25),
        torch.full((1, 2, 3), -0.125),
        Guidance(7.0),
        condition,
        guided="output",
        precision="mixed",
        dtype=dtype,
        batch_guidance=False,
    )
    return denoise, condition, dtype


def predict1_run(golden, run, *, legacy):
    denoise, condition, dtype = predict1_system(golden, run, legacy=legacy)
    x = (golden[f"in/{run}/noise_unit"] * math.sqrt(80**2 + 1)).to(dtype)
    replace = None if condition is None else condition.state
    return list(euler(denoise, x, predict1_karras(35), arithmetic=torch.float32, replace=replace))


@pytest.mark.parametrize(("name", "run"), PREDICT1_RUNS)
def test_predict1_equals_the_golden_bit_for_bit(name, run):
    golden = read_golden(name)
    steps = predict1_run(golden, run, legacy="fixed" not in name)
    assert torch.equal(torch.stack([step.x0 for step in steps[:-1]]), golden[f"out/{run}/x0"])
    states = torch.stack([step.x for step in steps])
    if run.startswith("v2w"):
        assert torch.equal(states[:-1], golden[f"out/{run}/x_in"])
    else:
        assert torch.equal(states[1:], golden[f"out/{run}/xs"])
    assert steps[-1].x0.dtype == golden[f"out/{run}/samples"].dtype
    assert torch.equal(steps[-1].x0, golden[f"out/{run}/samples"])


@pytest.mark.parametrize(("name", "run"), [case for case in PREDICT1_RUNS if case[1].startswith("v2w")])
def test_predict1_steps_from_the_rewritten_state(name, run):
    """What a step of video2world leaves, given latent frames included, before the next step rewrites those."""
    golden = read_golden(name)
    denoise, _, _ = predict1_system(golden, run, legacy="fixed" not in name)
    sigmas = predict1_karras(35)
    steps = [list(euler(denoise, x, sigmas[i : i + 2], arithmetic=torch.float32))[-1]
             for i, x in enumerate(golden[f"out/{run}/x_in"])]  # fmt: skip
    assert torch.equal(torch.stack([step.x for step in steps]), golden[f"out/{run}/xs"])


def test_predict1s_first_release_scales_the_given_latent_frames():
    """Released at the last two steps, they freeze at 1.5886 times the latents; the corrected form keeps them."""
    gains = {}
    for legacy, name in ((True, "predict1_sampler_edm"), (False, "predict1_sampler_edm_v2w_fixed")):
        golden = read_golden(name)
        final = predict1_run(golden, "v2w_fp32_35_c1", legacy=legacy)[-1].x0[:, :, 0]
        latents = golden["in/v2w/condition_latent"][:, :, 0]
        gains[legacy] = ((final * latents).sum() / (latents * latents).sum()).item()
    assert gains[True] == pytest.approx(1.5886, abs=0.002) and gains[False] == pytest.approx(1.0, abs=0.002)


def slope(solver, world, grid, counts):
    """The order of convergence: minus the slope of log error against log steps, in float64."""
    x = torch.linspace(-2, 2, 64, dtype=torch.float64) * grid(4)[0]
    errors = []
    for count in counts:
        sigmas = grid(count)
        end = list(solver(world, x, sigmas))[-1]
        errors.append((end.x - world.exact(x, float(sigmas[0]), end.sigma)).abs().max().log().item())
    steps = [math.log(count) for count in counts]
    return (errors[0] - errors[-1]) / (steps[-1] - steps[0])


@pytest.mark.parametrize(("solver", "order"), [(euler, 1), (heun, 2), (midpoint, 2), (ab2, 2)])
def test_order_of_convergence(solver, order):
    world = GaussianWorld(mean=torch.linspace(-1, 1, 64, dtype=torch.float64))

    def solve(denoise, x, sigmas):
        return solver(denoise, x, sigmas, final_step="none")

    # Fine grids: the asymptotic slope is reached within a few percent.
    measured = slope(solve, world, lambda n: karras(n, sigma_min=0.02, sigma_max=20.0), counts=(80, 160, 320))
    assert measured == pytest.approx(order, abs=0.15)


def test_order_of_convergence_of_unipc():
    """The corrector lifts the second-order predictor to third order, without another evaluation."""
    world = GaussianFlow(mean=torch.linspace(-1, 1, 64, dtype=torch.float64))

    def to_the_last_level(denoise, x, sigmas):
        return list(unipc(denoise, x, sigmas))[:-1]  # without the jump to sigma 0, which is first order

    measured = slope(to_the_last_level, world, flow_karras, counts=(40, 80, 160))
    assert measured == pytest.approx(3, abs=0.15)


@pytest.mark.parametrize("case", sorted(read_golden("predict2_5_unipc").metadata["cases"]))
def test_unipc_equals_predict2_5(case):
    golden = read_golden("predict2_5_unipc")
    settings, mu = golden.metadata["cases"][case], golden["in/mu"]
    velocities = []

    def velocity(x, timesteps, text, **_):
        velocities.append(x - mu + 0.3 * torch.sin(2 * x + 3 * (timesteps[0] / 1000)))
        return velocities[-1]

    count = settings["num_inference_steps"]
    sigmas = flow_karras(count) if settings.get("use_kerras_sigma") else flow_shifted(count, shift=settings["shift"])
    steps = list(unipc(make_denoiser(velocity, Flow(), torch.zeros(1, 1, 1)), golden["in/x_init"], sigmas))
    # The official update runs in float32, ours in float64: 1.6e-6 apart in the sheet's own check.
    torch.testing.assert_close(torch.stack([s.x for s in steps]), golden[f"out/{case}/x"], atol=5e-6, rtol=0)
    torch.testing.assert_close(
        torch.stack([s.x0 for s in steps[:-1]]), golden[f"out/{case}/x0_pred"], atol=5e-6, rtol=0
    )
    # By its slope of 1.6 at most, the velocity may differ by that much more than the state.
    torch.testing.assert_close(torch.stack(velocities), golden[f"out/{case}/v"], atol=1.6 * 5e-6, rtol=0)


@pytest.mark.parametrize("solver", [euler, heun, midpoint, ab2])
def test_starting_in_the_middle_forgets_what_came_before(solver):
    """SDEdit: steps `start`..N on the whole grid are those of the grid's tail, with indices of the whole."""
    world, sigmas = GaussianWorld(mean=torch.ones(5, dtype=torch.float64)), karras(10)
    x = torch.linspace(-3, 3, 5, dtype=torch.float64)
    start = sdedit_start(10, 0.4)
    middle = list(solver(world, x, sigmas, start=start))
    tail = list(solver(world, x, sigmas[start:]))
    assert [step.index for step in middle] == list(range(6, 11)) and torch.equal(middle[-1].x0, tail[-1].x0)
    assert middle[0].sigma == sigmas[6].item()


def test_unipc_starts_in_the_middle():
    world, sigmas = GaussianFlow(mean=torch.ones(5, dtype=torch.float64)), flow_shifted(10)
    x = torch.linspace(-3, 3, 5, dtype=torch.float64)
    middle, tail = list(unipc(world, x, sigmas, start=6)), list(unipc(world, x, sigmas[6:]))
    assert [step.index for step in middle] == list(range(6, 11)) and torch.equal(middle[-1].x0, tail[-1].x0)


def test_evaluations_are_counted():
    """36 for Predict2's 35 steps with the clean one, twice as many for Heun, none at sigma 0."""
    calls = []

    def denoise(x, sigma):
        calls.append(float(sigma))
        return x * 0

    x = torch.ones(2)
    for solver, grid, final, expected in (
        (ab2, karras(35), "denoise", 36),
        (ab2, karras(35), "none", 35),
        (heun, karras(35), "none", 70),
        (heun, predict1_karras(35), "none", 69),
        (euler, predict1_karras(35), "denoise", 35),
    ):
        calls.clear()
        sample(solver(denoise, x, grid, final_step=final))
        assert len(calls) == expected and min(calls) > 0


def test_a_step_to_sigma_zero_is_the_clean_estimate():
    world = GaussianWorld(mean=torch.full((3,), 2.0, dtype=torch.float64))
    steps = list(euler(world, torch.ones(3, dtype=torch.float64), predict1_karras(4)))
    torch.testing.assert_close(steps[-1].x0, steps[-2].x0)
    assert steps[-1].sigma == 0 and torch.equal(steps[-1].x, steps[-1].x0)


def test_the_state_keeps_its_dtype():
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        for solver in (euler, heun, midpoint, ab2):
            steps = list(solver(lambda x, sigma: x * 0.5, torch.ones(2, dtype=dtype), karras(3)))
            assert all(step.x.dtype == dtype for step in steps)


def test_consistency_renoises_to_every_level():
    """The state after step i is x0 + sigma_i+1 noise(i), and the sample is the last x0."""
    target, draws = torch.full((4,), 3.0), {i: torch.full((4,), float(i + 1)) for i in range(3)}
    steps = list(consistency(lambda x, sigma: target, torch.zeros(4), torch.tensor([80.0, 3.6, 0.0]), noise=draws.get))
    assert torch.allclose(steps[1].x, target + 3.6) and torch.equal(steps[-1].x0, target)


def test_impossible_grids_name_the_fix():
    denoise, x = (lambda x, sigma: x), torch.ones(1)
    with pytest.raises(ValueError, match="above zero"):
        sample(ab2(denoise, x, predict1_karras(5)))
    with pytest.raises(ValueError, match="fall"):
        sample(euler(denoise, x, karras(5).flip(0)))
    with pytest.raises(ValueError, match="start"):
        sample(euler(denoise, x, karras(5), start=7))
    with pytest.raises(ValueError, match="final_step"):
        sample(euler(denoise, x, karras(5), final_step="clean"))
    with pytest.raises(ValueError, match="UniPC"):
        sample(unipc(denoise, x, karras(5)))
