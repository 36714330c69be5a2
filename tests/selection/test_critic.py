"""What a critic reads of a clip and its prompt, and where things are for it."""

import pytest
import torch

from cosmos_lab.selection.critic import Critic, CriticConfig, positions


@pytest.fixture(scope="module")
def critic():
    with torch.random.fork_rng():
        torch.random.manual_seed(0)
        return Critic(CriticConfig(width=24, num_layers=2, num_heads=2, mlp_width=24, text_width=32, looks=5))


@pytest.fixture
def clip(generator):
    """Latents of two clips, 9 latent frames each, and two texts."""
    return torch.randn(2, 16, 9, 4, 6, generator=generator), torch.randn(2, 7, 32, generator=generator)


def test_a_verdict_follows_the_words(critic, clip):
    latents, text = clip
    said = critic(latents, text)
    assert said.shape == (2,) and said.isfinite().all()
    for word in range(7):
        other = text.clone()
        other[0, word] += 1
        changed = critic(latents, other)
        assert (changed[0] - said[0]).abs() > 1e-5 and torch.allclose(changed[1], said[1], atol=1e-6)


def test_a_verdict_follows_the_latent_frames_that_are_looked_at_and_no_others(critic, clip):
    latents, text = clip
    said, looked_at = critic(latents, text), critic.looked_at(9).tolist()
    assert looked_at == [0, 2, 4, 6, 8]
    for frame in range(9):
        other = latents.clone()
        other[:, :, frame] += 1
        changed = (critic(other, text) - said).abs()
        assert (changed > 1e-5).all() if frame in looked_at else torch.equal(changed, torch.zeros(2)), frame


@pytest.mark.parametrize("looks", [2, 5])
@pytest.mark.parametrize("length", range(1, 13))
def test_it_looks_at_both_ends_and_evenly_between(looks, length):
    critic = Critic(CriticConfig(width=24, num_layers=1, num_heads=2, mlp_width=24, text_width=32, looks=looks))
    seen = critic.looked_at(length)
    assert len(seen) == min(length, looks) and seen[0] == 0 and seen[-1] == length - 1
    steps = seen.diff()
    assert (steps >= 1).all() and (len(steps) == 0 or steps.max() - steps.min() <= 1)


def test_a_picture_is_a_clip_of_one_latent_frame(critic, clip):
    latents, text = clip
    said = critic(latents[:, :, :1], text)
    assert said.shape == (2,) and said.isfinite().all()
    assert not torch.allclose(said, critic(latents[:, :, 1:2], text), atol=1e-5)


def test_latents_and_words_may_be_of_half_precision(critic, clip):
    latents, text = (part.half() for part in clip)
    assert torch.equal(critic(latents, text), critic(latents.float(), text.float()))


def test_clips_of_a_batch_are_judged_each_by_itself(critic, clip):
    latents, text = clip
    alone = torch.cat([critic(latents[row : row + 1], text[row : row + 1]) for row in range(2)])
    assert torch.allclose(critic(latents, text), alone, atol=1e-5)


def test_it_matters_where_and_when_a_thing_is(critic, clip):
    latents, text = clip
    said = critic(latents, text)
    for moved in (latents.roll(2, dims=3), latents.roll(2, dims=4), latents.flip(2)):
        assert ((critic(moved, text) - said).abs() > 1e-5).all()


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_tokens_may_be_asked_for_on_the_way(critic, clip, depth):
    latents, text = clip
    tokens, seen = critic.tokens(latents, text, depth)
    assert tokens.shape == (2, 1 + 7 + 5 * 2 * 3, 24) and seen.shape == (2, 5, 2, 3, 24)
    assert torch.equal(seen.flatten(1, 3), tokens[:, 8:])
    assert torch.equal(critic.verdict_of(critic.further(tokens, depth)), critic(latents, text))


def test_a_token_of_the_clip_stands_for_its_own_patch(critic, clip):
    latents, text = clip
    other = latents.clone()
    other[:, :, 4, 2:4, 4:6] += 1
    before, after = (critic.tokens(shown, text, 0)[1] for shown in (latents, other))
    moved = (before - after).abs().amax(dim=(0, 4)) > 1e-5
    assert moved.nonzero().tolist() == [[2, 1, 2]]


def test_a_latent_frame_has_its_own_position_however_many_there_are(critic, clip):
    latents, text = clip
    long, short = (critic.tokens(latents[:, :, :length], text, 0)[1] for length in (9, 5))
    assert torch.allclose(long[:, :3], short[:, [0, 2, 4]], atol=1e-5)


@pytest.mark.parametrize("channels", [6, 24, 96])
def test_no_two_places_have_the_same_position(channels):
    found = positions(torch.tensor([0, 2, 4, 6, 8]), 7, 12, channels)
    assert found.shape == (5, 7, 12, channels) and found.isfinite().all()
    flat = found.flatten(0, 2)
    apart = torch.cdist(flat, flat) + 10 * torch.eye(len(flat))
    assert apart.min() > 1e-2


def test_a_third_of_a_position_is_for_each_axis():
    """Waves of angle 2 place, and of ever longer ones, down to 10^-1.5 of that."""
    frames = torch.tensor([0, 3, 8])
    found = positions(frames, 4, 5, 24)
    by_frame, by_row, by_column = found.split(8, dim=3)
    assert torch.equal(by_frame, by_frame[:, :1, :1].expand_as(by_frame))
    assert torch.equal(by_row, by_row[:1, :, :1].expand_as(by_row))
    assert torch.equal(by_column, by_column[:1, :1].expand_as(by_column))
    for waves, places in ((by_frame[:, 0, 0], frames), (by_row[0, :, 0], torch.arange(4)),
                          (by_column[0, 0], torch.arange(5))):  # fmt: skip
        for wave, rate in ((0, 2.0), (3, 2 * 10**-1.5)):
            assert torch.allclose(waves[:, wave], (rate * places).sin(), atol=1e-5)
            assert torch.allclose(waves[:, 4 + wave], (rate * places).cos(), atol=1e-5)


@pytest.mark.parametrize("wrong, said", [
    ({"width": 64}, "width is a multiple of 6 and of num_heads 4, from 12 on; not 64"),
    ({"width": 30}, "width is a multiple of 6 and of num_heads 4, from 12 on; not 30"),
    ({"looks": 1}, "looks is 2 or more"),
])  # fmt: skip
def test_a_critic_that_cannot_be_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        CriticConfig(**wrong)
