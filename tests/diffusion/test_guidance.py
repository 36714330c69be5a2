import pytest
import torch

from cosmos_lab.diffusion import Guidance


@pytest.fixture
def branches(generator):
    return torch.randn(2, 1, 16, 3, 4, 6, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("scale", [-1.0, 0.0, 0.5, 1.0, 4.0, 7.0])
def test_museum_6_cond_form_at_g_is_uncond_form_at_g_plus_1(branches, scale):
    cond, uncond = branches
    official = Guidance(scale)(cond, uncond)
    textbook = Guidance(scale + 1, "uncond")(cond, uncond)
    torch.testing.assert_close(official, textbook, atol=1e-13 * (1 + abs(scale)), rtol=0)
    mutant = Guidance(scale, "uncond")(cond, uncond)  # the number carried over without its form
    torch.testing.assert_close(mutant - official, uncond - cond, atol=1e-12, rtol=0)
    assert not torch.allclose(mutant, official)


def test_museum_6_guidance_has_no_gate(branches):
    """The official result moves continuously through g = 1; diffusers' gate makes it jump by cond - uncond."""
    cond, uncond = branches
    step = (Guidance(1.0 + 1e-6)(cond, uncond) - Guidance(1.0)(cond, uncond)).abs().max()
    jump = (Guidance.diffusers(1.0 + 1e-6)(cond, uncond) - Guidance.diffusers(1.0)(cond, uncond)).abs().max()
    assert step < 1e-5 and jump > 0.9 * (cond - uncond).abs().max()


@pytest.mark.parametrize("scale", [0.0, 0.5, 4.0, 7.0])
def test_conversion_is_exact_there_and_back(scale):
    assert Guidance(scale).to_uncond == Guidance(scale + 1, "uncond")
    assert Guidance(scale).to_uncond.to_cond == Guidance(scale)
    assert Guidance(scale).to_cond == Guidance(scale)


def test_off_is_the_conditional_prediction(branches):
    cond, uncond = branches
    for guidance in (Guidance(0.0), Guidance(1.0, "uncond"), Guidance.diffusers(1.0)):
        assert guidance.is_off
        torch.testing.assert_close(guidance(cond, uncond), cond, atol=1e-15, rtol=1e-14)
    assert not Guidance(1.0).is_off and not Guidance(0.0, "uncond").is_off


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match="uncond"):
        Guidance(7.0, "classic")
