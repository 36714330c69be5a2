"""Training clips: disjoint shares, nothing lost on the way, captions in step with their clips."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from einops import rearrange

from cosmos_lab.evaluation.codec import ssim
from cosmos_lab.nn.wavelet_vae import WaveletVAE, WaveletVAEConfig
from cosmos_lab.runtime.ranks import Ranks
from cosmos_lab.text.encoders import T5TextEncoder, nano_text_config, train_tokenizer
from cosmos_lab.train.banks import latent_bank, world_bank
from cosmos_lab.train.clips import (
    CAPTION_COUNTS,
    ClipSource,
    alike,
    captions_of,
    render_parts,
    render_pool,
    wrong_captions_of,
)
from cosmos_lab.train.meanings import bodies_of
from cosmos_lab.train.states import object_bank, state_bank
from cosmos_lab.train.tokenizer import (
    as_video,
    edge_weight,
    gradient_error,
    perturb,
    reconstruction_loss,
    set_latent_statistics,
)
from cosmos_lab.train.world_model import LatentBank
from cosmos_lab.worlds.mixture import simulate_many


def test_ranks_get_disjoint_seeds():
    whole = ClipSource(count=10, first_seed=100, workers=4)
    parts = [whole.part(Ranks(rank=rank, size=3)) for rank in range(3)]
    seeds = [set(range(part.first_seed, part.first_seed + part.count)) for part in parts]
    assert [len(s) for s in seeds] == [3, 3, 3] and len(set.union(*seeds)) == 9
    assert min(set.union(*seeds)) == 100 and all(part.workers == 1 for part in parts)


def test_grouping_loses_no_rollout():
    rollouts = list(simulate_many(range(12)))
    groups = list(alike(rollouts, size=5, among=8))
    assert Counter(r.scene.seed for group in groups for r in group) == Counter(r.scene.seed for r in rollouts)
    assert max(map(len, groups)) <= 5


def test_a_pool_and_its_bank_stay_in_step():
    pool = render_pool(ClipSource(count=2, first_seed=7, workers=1), Ranks(), progress=False)
    assert pool.pixels.shape == (2, 33, 112, 192, 3) and pool.pixels.float().std() > 10
    texts, meanings = zip(*captions_of([rollout.scene for rollout in pool.rollouts]))
    assert pool.captions == list(texts) and pool.meanings.tolist() == list(meanings)
    words = train_tokenizer(pool.captions, vocab_size=450)
    text = T5TextEncoder(nano_text_config(450), words, num_tokens=128)
    config = WaveletVAEConfig(channels=8, channels_mult=(1, 1), num_res_blocks=1, temporal_factor=4,
                              pixel_frames_per_chunk=None)
    vae = WaveletVAE(config)
    set_latent_statistics(vae, pool.pixels)
    bank = latent_bank(pool, vae, text, batch=1)
    assert bank.latents.shape == (2, 16, 9, 14, 24) and bank.tokens.shape == (2, sum(CAPTION_COUNTS.values()), 128)
    # bf16 latents of two clips: unit variance to a few percent.
    assert torch.allclose(bank.latents.float().std(dim=(0, 2, 3, 4)), torch.ones(16), atol=0.05)
    cut = replace(pool, rollouts=[pool.rollouts[0], replace(pool.rollouts[1], start=5)])
    assert bank.later.tolist() == [False, False] and latent_bank(cut, vae, text).later.tolist() == [False, True]
    assert bank.mistaken is None
    swapped = replace(pool, mistaken=pool.first(1), mistaken_from=torch.tensor([1]))
    none = replace(pool, mistaken=pool.first(0), mistaken_from=torch.tensor([], dtype=torch.int64))
    wrong = world_bank(iter([swapped, none]), vae, text, objects=True)
    assert torch.equal(wrong.mistaken, bank.latents[[0, 0, 0, 1]]) and torch.equal(wrong.latents[:2], bank.latents)
    first, second = (bodies_of(rollout.scene) for rollout in pool.rollouts)
    assert first != second and bank.bodies.tolist() == [[first] * 2, [second] * 2] and bank.bodies.dtype == torch.int8
    assert wrong.bodies.tolist() == [[first] * 2, [second, first], [first] * 2, [second] * 2]
    assert torch.equal(wrong.objects[1], object_bank(pool)[0] | object_bank(pool)[1])
    parts = world_bank(iter([pool, pool.first(1)]), vae, text, states=True, objects=True)
    assert torch.equal(parts.latents[[0, 2]], bank.latents[[0, 0]]) and torch.equal(parts.tokens[2], bank.tokens[0])
    for part, one in ((parts.states, state_bank(pool)), (parts.objects, object_bank(pool))):
        assert torch.equal(part, one[[0, 1, 0]])
    told = captions_of([pool.rollouts[1].scene])
    assert torch.equal(bank.tokens[1].long(), text.tokenize([caption for caption, _ in told]).ids)
    assert bank.meanings[1].tolist() == [meaning for _, meaning in told]


def test_parts_are_the_pool_piece_by_piece():
    source = ClipSource(count=3, first_seed=7, workers=1, judged=True)
    whole, parts = (made(source, Ranks(), progress=False) for made in (render_pool, render_parts))
    parts = list(parts)
    assert [len(part.rollouts) for part in parts] == [3]
    smaller = list(render_parts(source, Ranks(), progress=False, size=1))
    assert [len(part.rollouts) for part in smaller] == [2, 1]
    for name in ("pixels", "body_index", "meanings"):
        for pieces in (parts, smaller):
            assert torch.equal(getattr(whole, name), torch.cat([getattr(part, name) for part in pieces]))
    assert [caption for part in smaller for caption in part.captions] == whole.captions
    wrong = wrong_captions_of([rollout.scene for rollout in whole.rollouts])
    assert [caption for part in smaller for caption in part.wrong_captions] == parts[0].wrong_captions == wrong
    assert all(wrong) and whole.wrong_captions is None
    bank = LatentBank.joined([LatentBank(latents=part.pixels, tokens=part.meanings) for part in smaller])
    assert torch.equal(bank.latents, whole.pixels) and bank.states is None


def test_reconstruction_loss_weighs_moving_edges(generator):
    video = torch.zeros(1, 3, 5, 16, 16)
    video[:, :, 3:, 4:8, 4:8] = 1.0
    weight = edge_weight(video)
    assert weight[0, 0, 3, 6, 6] == 4 and weight[0, 0, 0].eq(1).all()
    still, moving = video.clone(), video.clone()
    still[:, :, 0, 12, 12] += 0.5
    moving[:, :, 3, 6, 6] += 0.5
    assert reconstruction_loss(video, video) == 0
    assert reconstruction_loss(moving, video) > 2 * reconstruction_loss(still, video)


def test_reconstruction_loss_sees_lost_texture(generator):
    """Of two errors of equal size, the one that takes a texture away is worse than the one that shifts all a little."""
    texture = 0.1 * torch.rand(1, 1, 1, 16, 16, generator=generator).round().expand(1, 3, 5, 16, 16) - 0.05
    lost, shifted = torch.zeros_like(texture), texture + 0.05
    unlike = [1 - ssim(*(rearrange(127.5 * (clip + 1), "b c t h w -> b t h w c") for clip in (output, texture))).item()
              for output in (lost, shifted)]
    assert unlike[0] > 0.3 > 10 * unlike[1]
    error = lost - texture
    plain = error.abs().mean() + 10 * error.square().mean() + gradient_error(error, torch.ones(1, 1, 5, 16, 16))
    assert torch.allclose(reconstruction_loss(lost, texture), plain + 0.3 * unlike[0], rtol=1e-4)


def test_perturbation_is_relative_to_each_channel(generator):
    latents = torch.randn(1024, 2, 3, 4, 4, generator=generator) * torch.tensor([1.0, 100.0])[None, :, None, None, None]
    amount = torch.full((1024, 1, 1, 1, 1), 0.1)
    amount[::2] = 0
    noise = torch.randn(latents.shape, generator=generator)
    change = perturb(latents, amount, noise) - latents
    assert change[::2].eq(0).all()
    spread = change[1::2].std(dim=(0, 2, 3, 4)) / torch.tensor([1.0, 100.0])
    assert torch.allclose(spread, torch.full((2,), 0.1), atol=0.004)


def test_as_video_covers_the_range():
    pixels = torch.tensor([0, 255], dtype=torch.uint8)[None, None, None, :, None].expand(1, 1, 1, 2, 3)
    video = as_video(pixels)
    assert video.shape == (1, 3, 1, 1, 2) and video.unique().tolist() == [-1, 1]


def test_a_bank_of_no_clips_is_refused():
    with pytest.raises(ValueError, match="no clip was made: ask for more --clips or more --render_minutes"):
        world_bank(iter([]), None, None)
