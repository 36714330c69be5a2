"""Answers as readers write them: their own code, not the mistakes that a checker was built from."""

import numpy as np
import pytest
import torch

from cosmos_lab.notebook.check import exercise


def shape_of_lists(num_pixel_frames, height, width):
    return [16, (num_pixel_frames + 3) // 4, height // 8, width // 8]


def shape_in_pixel_frames(num_pixel_frames, height, width):
    return 16, num_pixel_frames, height // 8, width // 8


def shape_without_the_first(num_pixel_frames, height, width):
    return 16, int(num_pixel_frames / 4), height // 8, width // 8


def shape_of_tokens(num_pixel_frames, height, width):
    return 16, (num_pixel_frames + 3) // 4, height // 16, width // 16


def shape_in_three_colors(num_pixel_frames, height, width):
    return 3, (num_pixel_frames + 3) // 4, height // 8, width // 8


def score_in_loops(clip, truth, num_given):
    ratios = []
    for t in range(num_given, len(truth)):
        error = np.mean(np.abs(clip[t].astype(np.int64) - truth[t].astype(np.int64)))
        ratios.append(error / np.mean(np.abs(truth[num_given - 1].astype(np.int64) - truth[t].astype(np.int64))))
    return ratios


def score_in_bytes(clip, truth, num_given):
    error = np.mean(np.abs(clip - truth), axis=(1, 2, 3))
    rival = np.mean(np.abs(truth[num_given - 1] - truth), axis=(1, 2, 3))
    return error[num_given:] / rival[num_given:]


def score_of_the_rival(clip, truth, num_given):
    clip, truth = clip.astype(float), truth.astype(float)
    error = np.abs(clip[num_given:] - truth[num_given:]).mean((1, 2, 3))
    return np.abs(truth[num_given - 1] - truth[num_given:]).mean((1, 2, 3)) / error


def score_from_the_first(clip, truth, num_given):
    clip, truth = clip.astype(float), truth.astype(float)
    error = np.abs(clip[num_given:] - truth[num_given:]).mean((1, 2, 3))
    return error / np.abs(truth[0] - truth[num_given:]).mean((1, 2, 3))


def score_squared(clip, truth, num_given):
    clip, truth = clip.astype(float), truth.astype(float)
    error = ((clip[num_given:] - truth[num_given:]) ** 2).mean((1, 2, 3))
    return error / ((truth[num_given - 1] - truth[num_given:]) ** 2).mean((1, 2, 3))


def mask_in_loops(num_conditional_pixel_frames, num_latent_frames):
    mask = [0.0] * num_latent_frames
    for pixel_frame in range(num_conditional_pixel_frames):
        mask[(pixel_frame + 3) // 4] = 1.0
    return mask


def mask_of_pixel_frames(num_conditional_pixel_frames, num_latent_frames):
    return [1.0 if t < num_conditional_pixel_frames else 0.0 for t in range(num_latent_frames)]


def mask_in_fours(num_conditional_pixel_frames, num_latent_frames):
    mask = np.zeros(num_latent_frames)
    mask[: int(num_conditional_pixel_frames / 4)] = 1
    return mask


def mask_of_what_is_missing(num_conditional_pixel_frames, num_latent_frames):
    mask = torch.ones(num_latent_frames)
    mask[: (num_conditional_pixel_frames + 3) // 4] = 0
    return mask


def mask_with_one_more(num_conditional_pixel_frames, num_latent_frames):
    mask = torch.zeros(num_latent_frames)
    mask[: 1 + num_conditional_pixel_frames // 4] = 1
    return mask


def step_by_latent_frames(net, x, sigma, sigma_next, noise, latents, mask):
    given = mask.flatten() > 0
    seen = x.clone()
    seen[given] = latents[given]
    velocity = net(seen, sigma)
    velocity[given] = (noise - latents)[given]
    return x - (sigma - sigma_next) * velocity


def step_of_the_noisy_state(net, x, sigma, sigma_next, noise, latents, mask):
    velocity = torch.where(mask > 0, noise - latents, net(x, sigma))
    return x + (sigma_next - sigma) * velocity


def step_with_the_networks_velocity(net, x, sigma, sigma_next, noise, latents, mask):
    return x + (sigma_next - sigma) * net(torch.where(mask > 0, latents, x), sigma)


def step_to_clean_latents(net, x, sigma, sigma_next, noise, latents, mask):
    clean = torch.where(mask > 0, latents, x)
    return torch.where(mask > 0, latents, x + (sigma_next - sigma) * net(clean, sigma))


def step_up(net, x, sigma, sigma_next, noise, latents, mask):
    velocity = torch.where(mask > 0, noise - latents, net(torch.where(mask > 0, latents, x), sigma))
    return x + (sigma - sigma_next) * velocity


RIGHT = {
    "world.latent_shape": [shape_of_lists],
    "world.against_repeating": [score_in_loops],
    "conditioning.mask_from_count": [mask_in_loops],
    "conditioning.velocity_step": [step_by_latent_frames],
}
# A piece of the hint that each wrong answer has to get: none may fall into the general one.
WRONG = {
    "world.latent_shape": {
        shape_in_pixel_frames: "you counted pixel frames",
        shape_without_the_first: "first latent frame",
        shape_of_tokens: "side of a token",
        shape_in_three_colors: "16 channels",
    },
    "world.against_repeating": {
        score_in_bytes: "wraps around",
        score_of_the_rival: "upside down",
        score_from_the_first: "the last is the better guess",
        score_squared: "absolute",
    },
    "conditioning.mask_from_count": {
        mask_of_pixel_frames: "the count is in pixel frames",
        mask_in_fours: "holds 1 pixel frame, not 4",
        mask_of_what_is_missing: "inverted",
        mask_with_one_more: "no latent frame is given either",
    },
    "conditioning.velocity_step": {
        step_of_the_noisy_state: "clean",
        step_with_the_networks_velocity: "the velocity is known",
        step_to_clean_latents: "only replaces the velocity",
        step_up: "walks up",
    },
}


@pytest.mark.parametrize("name, answer", [(name, answer) for name, answers in RIGHT.items() for answer in answers])
def test_right_answers_in_another_style(name, answer):
    assert exercise(name, answer).state == "OK"


@pytest.mark.parametrize("name, answer, part", [(n, a, part) for n, many in WRONG.items() for a, part in many.items()])
def test_wrong_answers_get_the_hint_that_fits(name, answer, part):
    verdict = exercise(name, answer)
    assert verdict.state == "HINT" and part in verdict.message


@pytest.mark.parametrize("name", WRONG)
def test_hints_differ(name):
    messages = {exercise(name, answer).message for answer in WRONG[name]}
    assert len(messages) == len(WRONG[name]) >= 3
