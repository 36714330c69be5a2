import pytest
import torch
from golden_files import read_golden

from cosmos_lab.diffusion import (
    EDM,
    Flow,
    diffusers_karras,
    distilled,
    flow_karras,
    flow_shifted,
    karras,
    predict1_karras,
    sdedit_start,
)
from cosmos_lab.noise import official


@pytest.mark.parametrize("num_steps", [35, 10, 4])
def test_karras_equals_predict2s_grid_exactly(num_steps):
    expected = read_golden("predict2_sampler")[f"out/sigmas_{num_steps}"]
    sigmas = karras(num_steps)
    assert sigmas.dtype == torch.float64 and torch.equal(sigmas, expected)


def test_museum_7_a_float32_grid_is_not_the_official_one():
    """The mutant computes the same formula from a float32 linspace; its levels differ from the official ones."""
    first, last = 80.0 ** (1 / 7), 0.002 ** (1 / 7)
    mutant = ((first + torch.linspace(0, 1, 36) * (last - first)) ** 7).double()
    expected = read_golden("predict2_sampler")["out/sigmas_35"]
    torch.testing.assert_close(mutant, expected, rtol=1e-4, atol=0)
    assert not torch.equal(mutant, expected) and not torch.allclose(mutant, expected, rtol=1e-8, atol=0)
    assert torch.equal(karras(35), expected)


@pytest.mark.parametrize("run", ["res_2ab_35", "res_2ab_5", "res_2mid_10", "res_1euler_8"])
def test_karras_equals_cosmos_1s_grid_exactly(run):
    expected = read_golden("predict1_sampler_res")[f"in/{run}/sigmas"]
    assert torch.equal(karras(len(expected) - 1), expected)


@pytest.mark.parametrize("name", ["predict1_sampler_edm", "predict1_sampler_edm_v2w_fixed"])
def test_predict1_grid_and_timesteps_equal_the_golden_exactly(name):
    golden = read_golden(name)
    sigmas = predict1_karras(35)
    for run in {key.split("/")[1] for key in golden.tensors if key.endswith("/sigmas")}:
        assert torch.equal(sigmas.float(), golden[f"in/{run}/sigmas"])
        assert torch.equal(EDM().coefficients(sigmas[:-1].float()).c_noise, golden[f"in/{run}/timesteps"])
    assert sigmas[0] < 80 and sigmas[-1] == 0


def test_newer_diffusers_computes_predict1s_ramp_in_float64():
    difference = (predict1_karras(35) - predict1_karras(35, dtype=torch.float64)).abs().max()
    assert 0 < difference < 2.4e-5


def test_diffusers_grid_repeats_its_last_level():
    sigmas = diffusers_karras(35)
    assert len(sigmas) == 36 and sigmas[-1] == sigmas[-2]
    assert sigmas[1].item() == pytest.approx(68.0051, abs=1e-4)  # the official grid has 68.32506 there


def _cases() -> dict[str, dict]:
    return read_golden("predict2_5_unipc").metadata["cases"]


@pytest.mark.parametrize("case", sorted(_cases()))
def test_flow_grids_and_truncated_timesteps_equal_predict2_5(case):
    golden, settings = read_golden("predict2_5_unipc"), _cases()[case]
    num_steps = settings["num_inference_steps"]
    if settings.get("use_kerras_sigma"):
        sigmas = flow_karras(num_steps)
    else:
        sigmas = flow_shifted(num_steps, shift=settings["shift"])
    assert torch.equal(sigmas.float(), golden[f"out/{case}/sigmas"])
    assert torch.equal(Flow().coefficients(sigmas[:-1]).c_noise.long(), golden[f"out/{case}/timesteps"])


def test_karras_flow_has_one_step_more_than_asked_for():
    assert len(flow_karras(35)) - 1 == 36 and len(flow_shifted(35)) - 1 == 35


def test_distilled_levels():
    assert distilled(3).tolist() == [80.0, 3.6, 1.5574, 0.0]
    with pytest.raises(ValueError, match="1 to 4"):
        distilled(5)


@pytest.mark.parametrize(
    ("strength", "start"),
    [
        (0.1, 31),
        (0.2, 28),
        (0.3, 24),
        (0.4, 21),
        (0.5, 17),
        (0.6, 14),
        (0.7, 10),
        (0.8, 6),
        (0.9, 3),
        (1.0, 0),
        (0.0, 35),
    ],
)
def test_sdedit_start_truncates_as_official(strength, start):
    assert sdedit_start(35, strength) == start


@pytest.mark.parametrize("strength", [0.1, 0.4, 0.5, 0.8, 1.0])
def test_sdedit_start_state_equals_the_golden(strength):
    golden = read_golden("predict2_sampler")
    mu = golden["in/mu"]
    state = mu + official(7, mu.shape) * karras(35)[sdedit_start(35, strength)]
    assert torch.equal(state, golden[f"out/sdedit_start_{strength}"])


@pytest.mark.parametrize("schedule", [karras, predict1_karras, diffusers_karras, flow_karras, flow_shifted])
def test_schedules_are_float64_falling_and_refuse_zero_steps(schedule):
    sigmas = schedule(7)
    assert sigmas.dtype == torch.float64 and bool((sigmas[:-1] >= sigmas[1:]).all())
    with pytest.raises(ValueError, match="num_steps"):
        schedule(0)


def test_bad_ranges_name_the_fix():
    with pytest.raises(ValueError, match="sigma_min < sigma_max"):
        karras(5, sigma_min=3.0, sigma_max=1.0)
    with pytest.raises(ValueError, match="strength"):
        sdedit_start(35, 1.5)
    with pytest.raises(ValueError, match="shift"):
        flow_shifted(5, shift=0.0)
