import math

import pytest
import torch
from golden_files import read_golden

from cosmos_lab.diffusion import EDM, Flow, RectifiedFlow

DECADES = 80.0 * 10.0 ** -torch.arange(0, 5.5, 0.5, dtype=torch.float64)


def test_rectified_flow_equals_the_official_scaling_exactly():
    golden = read_golden("predict2_sampler")
    c = RectifiedFlow().coefficients(golden["out/scaling_sigma"])
    assert torch.equal(torch.stack([*c]), golden["out/scaling_cskip_cout_cin_cnoise"])


@pytest.mark.parametrize("sigma", DECADES.tolist())
@pytest.mark.parametrize(
    ("parametrization", "sigma_data"), [(EDM(0.5), 0.5), (EDM(1.0), 1.0)], ids=["sigma_data 0.5", "sigma_data 1"]
)
def test_edm_keeps_unit_variance_in_and_out_over_five_decades(parametrization, sigma_data, sigma):
    """c_in x has variance 1, and so has the target F* = (x0 - c_skip x) / c_out, for independent x0 and noise."""
    c_skip, c_out, c_in, _ = (float(c) for c in parametrization.coefficients(torch.tensor(sigma, dtype=torch.float64)))
    variance_in = c_in**2 * (sigma_data**2 + sigma**2)
    variance_out = ((1 - c_skip) ** 2 * sigma_data**2 + c_skip**2 * sigma**2) / c_out**2
    # float64 arithmetic; the cancellation 1 - c_skip costs digits at small sigma.
    assert variance_in == pytest.approx(1, abs=1e-9) and variance_out == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("sigma", DECADES.tolist())
def test_rectified_flow_predicts_the_velocity_between_noise_and_data(sigma, generator):
    """F = eps - x0 gives x0 back, and its input has variance (1-t)^2 + t^2, between 1/2 and 1."""
    x0, eps = torch.randn(2, 4096, generator=generator, dtype=torch.float64)
    x = x0 + sigma * eps
    c_skip, c_out, c_in, t = RectifiedFlow().coefficients(torch.tensor(sigma, dtype=torch.float64))
    torch.testing.assert_close(c_skip * x + c_out * (eps - x0), x0, atol=1e-9, rtol=0)
    torch.testing.assert_close(c_in * x, (1 - t) * x0 + t * eps, atol=1e-9, rtol=0)
    assert 0.45 < (c_in * x).var() < 1.05


def test_rectified_flow_has_no_factor_of_1000():
    assert RectifiedFlow().coefficients(torch.tensor(80.0)).c_noise.item() == pytest.approx(0.987654, abs=1e-6)


def test_edm_timestep_is_a_quarter_of_the_logarithm():
    assert EDM().coefficients(torch.tensor(80.0)).c_noise.item() == pytest.approx(math.log(80) / 4, abs=1e-6)


def test_flow_truncates_before_sigma_is_rounded():
    """A level just under 0.5 is timestep 499 in float64; float32 would already have made 0.5 of it."""
    sigma = torch.tensor(0.5 - 1e-9, dtype=torch.float64)
    c = Flow().coefficients(sigma, dtype=torch.float32)
    assert c.c_noise.item() == 499 and c.c_out.item() == -0.5 and c.c_out.dtype == torch.float32
    assert Flow(truncate=False).coefficients(sigma, dtype=torch.float32).c_noise.item() == 500


def test_flow_timesteps_stay_float32_beside_a_bfloat16_network():
    assert Flow().timestep_dtype is torch.float32
    assert torch.tensor(995.0).to(torch.bfloat16).item() == 996  # what the network would be told otherwise


def test_sigma_data_must_be_positive():
    with pytest.raises(ValueError, match="sigma_data"):
        EDM(0.0)
