"""PSNR and SSIM against closed forms."""

import math

import pytest
import torch

from cosmos_lab.evaluation.codec import codec_figures, edge_psnr, gaussian_window, moving_edges, psnr, ssim


def clip(value, length=3, height=24, width=32):
    return torch.full((1, length, height, width, 3), value, dtype=torch.uint8)


def noise(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (2, 3, 24, 32, 3), generator=generator, dtype=torch.uint8)


def test_psnr_of_a_constant_difference():
    assert float(psnr(clip(110), clip(100))) == pytest.approx(20 * math.log10(255 / 10), abs=1e-4)
    assert float(psnr(clip(100), clip(100))) == math.inf


def test_each_clip_has_its_own_psnr():
    pair = torch.cat([clip(100), clip(120)])
    assert psnr(pair, torch.cat([clip(101), clip(100)])).tolist() == pytest.approx(
        [20 * math.log10(255), 20 * math.log10(255 / 20)], abs=1e-4)  # fmt: skip


def test_ssim_of_equal_clips_is_one():
    # 1 up to float32 rounding of the local variances.
    assert ssim(noise(), noise()).tolist() == pytest.approx([1.0, 1.0], abs=1e-4)


def test_ssim_of_flat_pictures_is_the_luminance_term():
    a, b, c1 = 100 / 255, 150 / 255, 0.01**2
    # Flat pictures have no variance: float32 rounding of it against c2 = 9e-4 is what is left.
    assert float(ssim(clip(100), clip(150))) == pytest.approx((2 * a * b + c1) / (a * a + b * b + c1), abs=1e-3)


def test_ssim_of_independent_noise_is_near_zero():
    assert ssim(noise(0), noise(1)).abs().max() < 0.1


def test_ssim_knows_a_blur_from_a_shift_in_brightness():
    picture = noise().float()
    blurred = (picture + picture.roll(1, dims=2) + picture.roll(1, dims=3)) / 3
    brighter = (picture * 0.9 + 12).round()
    assert (ssim(blurred, picture) < ssim(brighter, picture)).all()


def test_the_window_is_a_normalized_gaussian():
    window = gaussian_window()
    assert float(window.sum()) == pytest.approx(1) and float(window[5] / window[6]) == pytest.approx(math.exp(1 / 4.5))


def test_moving_edges_are_where_something_changes():
    moving = clip(100)
    moving[:, 1, 10, 10] = 200
    edges = moving_edges(moving)
    assert edges.shape == (1, 2, 24, 32) and edges[0, 0].sum() == 25 and edges[0, 0, 12, 12] and not edges[0, 0, 13, 10]
    assert moving_edges(clip(100)).sum() == 0


def test_edge_psnr_sees_errors_at_moving_edges_alone():
    moving = clip(100)
    moving[:, 1:, 10, 10] = 200
    far, near = moving.clone(), moving.clone()
    far[:, :, 20:, 20:] += 50
    near[:, 1, 9:12, 9:12] += 50
    assert float(edge_psnr(far, moving)) == math.inf and float(edge_psnr(near, moving)) < 20


def test_figures_do_not_depend_on_the_batch():
    output, reference = noise(0), noise(2)
    one, all_ = codec_figures(output, reference, batch=1), codec_figures(output, reference, batch=2)
    for name in one:
        assert torch.allclose(one[name], all_[name], atol=1e-4)
