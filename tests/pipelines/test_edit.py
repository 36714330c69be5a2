"""SDEdit and FlowEdit: how much of the input remains, the official start, the same clip again from its provenance."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from golden_files import read_golden
from random_nano import pipe, random_nano  # noqa: F401 (fixtures)

import cosmos_lab as lab
from cosmos_lab import catalog, video
from cosmos_lab.diffusion.schedules import karras, sdedit_start
from cosmos_lab.noise import Official
from cosmos_lab.pipelines import assembly
from cosmos_lab.pipelines.generate import Pipeline
from cosmos_lab.pipelines.source import Source

QUICK = {"num_steps": 4, "num_pixel_frames": 9, "progress": False}
PROMPT = "a blue box rolls to the left"


@pytest.fixture(scope="module")
def clip(pipe):  # noqa: F811
    return pipe.text2world("a red ball rolls to the left", seed=3, num_steps=2, num_pixel_frames=9, progress=False)


def test_strength_0_is_the_input_and_1_is_generation_from_noise(pipe, clip):  # noqa: F811
    assert np.array_equal(lab.edit(pipe, clip, PROMPT, strength=0, **QUICK).frames, clip.frames)
    whole = lab.edit(pipe, clip, PROMPT, strength=1, seed=5, **QUICK)
    plain = pipe.text2world(PROMPT, seed=5, **QUICK)
    assert torch.equal(whole.latents, plain.latents) and np.array_equal(whole.frames, plain.frames)


def test_more_strength_changes_more(pipe, clip):  # noqa: F811
    # Strength 1 alone begins with noise, and so knows churn, which takes a network that knows nothing elsewhere.
    sampling = replace(pipe.card.sampling, churn=0.0)
    calm = Pipeline(replace(pipe.model, card=replace(pipe.card, sampling=sampling)))
    given = pipe.model.vae.encode(video.to_network(clip.frames))
    changes = [(lab.edit(calm, clip, PROMPT, strength=s, seed=5, **QUICK).latents - given).square().mean().item()
               for s in (0.25, 0.5, 0.75, 1.0)]  # fmt: skip
    assert changes == sorted(changes) and changes[0] < 0.5 * changes[-1]


def test_the_first_pixel_frames_are_edited_and_the_last_one_repeats(pipe, clip):  # noqa: F811
    longer = np.concatenate([clip.frames, clip.frames[:3]])
    shorter = clip.frames[:4]
    same = [lab.edit(pipe, given, PROMPT, strength=0.5, **QUICK).latents for given in (clip, longer)]
    assert torch.equal(*same)
    padded = np.concatenate([shorter, np.repeat(shorter[-1:], 5, axis=0)])
    same = [lab.edit(pipe, given, PROMPT, strength=0.5, **QUICK).latents for given in (shorter, padded)]
    assert torch.equal(*same)


def test_told_what_the_input_shows_an_edit_changes_what_the_prompts_differ_in(pipe, clip):  # noqa: F811
    """Between equal prompts that is nothing at all; more strength follows it further."""
    given = pipe.model.vae.encode(video.to_network(clip.frames))
    told = {"source_prompt": "a red ball rolls to the left", "seed": 5, **QUICK}
    same = lab.edit(pipe, clip, told["source_prompt"], strength=0.75, **told)
    assert torch.equal(same.latents, given)
    made = [lab.edit(pipe, clip, PROMPT, strength=s, **told).latents for s in (0, 0.25, 0.75)]
    changes = [(latents - given).square().mean().item() for latents in made]
    assert changes[0] == 0 < changes[1] < changes[2]
    plain = lab.edit(pipe, clip, PROMPT, strength=0.75, seed=5, **QUICK).latents
    assert changes[2] < (plain - given).square().mean()


def test_an_edit_is_not_guided_where_an_empty_negative_prompt_is_the_prompt_itself(pipe, clip):  # noqa: F811
    """Nor is what it is told of the input, which has a prompt of its own."""
    sampling = replace(pipe.card.sampling, unconditional="prompt")
    other = Pipeline(replace(pipe.model, card=replace(pipe.card, sampling=sampling)))
    told = {"source_prompt": "a red ball rolls to the left", "seed": 5, "strength": 0.75, **QUICK}
    guided, free = (lab.edit(other, clip, PROMPT, guidance=scale, **told).latents for scale in (5.0, 0.0))
    assert torch.allclose(guided, free, atol=1e-3 * free.std().item())
    usual = lab.edit(pipe, clip, PROMPT, guidance=5.0, **told).latents
    assert not torch.allclose(usual, free, atol=0.1 * free.std().item())
    against = {"negative_prompt": "a green ball rolls to the right", "guidance": 5.0, **told}
    assert torch.equal(*(lab.edit(which, clip, PROMPT, **against).latents for which in (other, pipe)))


def test_embeddings_given_by_hand_may_be_one_tensor_or_two(pipe, clip):  # noqa: F811
    """What is led away from stays what was given, also for the source, where it happens to be the prompt's."""
    told = {"source_prompt": "a red ball rolls to the left", "seed": 5, "strength": 0.75, "guidance": 5.0, **QUICK}
    given = pipe.model.text.encode([PROMPT])
    one, two = (lab.edit(pipe, clip, "", prompt_embeds=given, negative_prompt_embeds=negative, **told)
                for negative in (given, given.clone()))  # fmt: skip
    assert torch.equal(one.latents, two.latents)


def test_more_draws_are_other_clips_and_known_to_the_provenance(pipe, clip, tmp_path):  # noqa: F811
    told = {"source_prompt": "a red ball rolls to the left", "seed": 5, "strength": 0.75, **QUICK}
    usual, one, two = (lab.edit(pipe, clip, PROMPT, num_draws=number, **told) for number in (None, 1, 2))
    assert torch.equal(usual.latents, one.latents) and not torch.equal(one.latents, two.latents)
    given = pipe.model.vae.encode(video.to_network(clip.frames))
    assert (two.latents - given).square().mean() < (one.latents - given).square().mean()
    settings = [made.provenance["settings"].get("num_draws") for made in (usual, one, two)]
    assert settings == [None, 1, 2]
    path = clip.save(tmp_path / "clip.mp4")
    made = lab.edit(pipe, path, PROMPT, num_draws=2, **told)
    assert lab.replay(made.save(tmp_path / "two.mp4"), pipe=pipe, progress=False) == made


def test_told_or_not_strength_1_is_generation_from_noise(pipe, clip):  # noqa: F811
    whole = lab.edit(pipe, clip, PROMPT, strength=1, seed=5, source_prompt="a red ball", **QUICK)
    assert torch.equal(whole.latents, pipe.text2world(PROMPT, seed=5, **QUICK).latents)


@pytest.mark.parametrize("strength", [0.1, 0.4, 0.5, 0.8, 1.0])
def test_official_cards_start_from_the_official_state(strength):
    """latents + sigma_k noise with k = int(35 (1 - strength)), also at strength 1, where nano has noise alone."""
    golden = read_golden("predict2_sampler").tensors
    sampling = catalog.card("predict2-2b-video2world-720p-16fps").sampling
    mu = golden["in/mu"]
    first = sdedit_start(35, strength)
    noise = Official(7)(mu.shape)
    state = assembly.edit_state(sampling, mu, noise, sigma=karras(35)[first], first=first == 0, dtype=torch.float32)
    assert state.dtype == torch.float32 and torch.equal(state, golden[f"out/sdedit_start_{strength}"])


def test_official_pictures_of_an_edit_are_the_official_ones():
    golden = read_golden("predict2_preprocess").tensors
    frames = golden["in/vid12x30x50"].numpy()
    wanted = golden["out/sdedit_first_frame/vid12x30x50_to_32x48"]
    # torch's antialias weights differ in the last bit from version to version.
    assert torch.allclose(video.fit_unit(frames[:1], 32, 48), wanted, atol=1e-6)
    for height, width, length in ((32, 48, 5), (16, 16, 13)):
        source = Source.first(frames, num_pixel_frames=length)
        wanted = golden[f"out/sdedit_video/vid12x30x50_to_{height}x{width}_f{length}"]
        ours = video.fit(source.pixels, height, width, resize="truncate")
        off = (torch.from_numpy(ours).permute(3, 0, 1, 2)[None].int() - wanted.int()).abs()
        assert off.max() <= 1 and (off > 0).float().mean() < 0.01


@pytest.mark.parametrize("name", ["predict2-2b-video2world-720p-16fps", "predict1-7b-video2world",
                                  "cosmos1-7b-text2world", "predict2.5-2b-post-trained"])  # fmt: skip
def test_every_generation_edits_in_its_own_way(pipe, clip, name):  # noqa: F811
    official = catalog.card(name)
    pictures = replace(official.pictures, resize="round", edited="signed")
    other = Pipeline(replace(pipe.model, card=replace(pipe.card, sampling=official.sampling, pictures=pictures)))
    little, much = (lab.edit(other, clip, PROMPT, strength=s, **QUICK).latents for s in (0.25, 0.75))
    given = pipe.model.vae.encode(video.to_network(clip.frames)) * official.sampling.sigma_data
    assert torch.isfinite(much).all()
    assert (little - given).square().mean() < (much - given).square().mean()
    told = {"strength": 0.75, "source_prompt": "a red ball rolls", **QUICK}
    assert torch.equal(lab.edit(other, clip, told["source_prompt"], **told).latents, given)
    assert torch.isfinite(lab.edit(other, clip, PROMPT, **told).latents).all()


def test_the_first_pixel_frame_is_edited_first(pipe, clip):  # noqa: F811
    """On a model that paints itself, and with a painter of its own, behind which stands a JPEG, as in Predict2."""
    made = lab.edit(pipe, clip, PROMPT, strength=0.5, image_strength=0.5, seed=5, **QUICK)
    picture = lab.edit(pipe, clip, PROMPT, strength=0.5, seed=5, **{**QUICK, "num_pixel_frames": 1}).frames
    given = pipe.model.vae.encode(video.to_network(picture))
    assert torch.equal(made.latents[:, :, :1], given)
    assert made.provenance["settings"]["num_conditional_frames"] == 1
    two_phase = Pipeline(replace(pipe.model, card=replace(pipe.card, first_frame="painter")),
                         open_first_frame=lambda: pipe)  # fmt: skip
    officially = lab.edit(two_phase, clip, PROMPT, strength=0.5, seed=5, **QUICK)
    assert officially.provenance["settings"]["image_strength"] == 0.4
    told = lab.edit(two_phase, clip, PROMPT, strength=0.5, source_prompt="a red ball", **QUICK)
    assert told.provenance["painter"] is None


def test_an_edit_is_saved_and_made_again(pipe, clip, tmp_path):  # noqa: F811
    path = clip.save(tmp_path / "clip.mp4")
    made = lab.edit(pipe, path, PROMPT, strength=0.5, image_strength=0.25, **QUICK)
    settings = made.provenance["settings"]
    assert (settings["task"], settings["strength"], settings["image_strength"]) == ("video2video", 0.5, 0.25)
    assert made.provenance["input"]["path"] == str(path)
    assert lab.replay(made, pipe=pipe, progress=False) == made
    assert lab.replay(made.save(tmp_path / "edit.mp4"), pipe=pipe, progress=False) == made
    told = lab.edit(pipe, path, PROMPT, strength=0.5, source_prompt="a red ball", seed=2, **QUICK)
    assert told.provenance["settings"]["source_prompt"] == "a red ball"
    assert lab.replay(told.save(tmp_path / "told.mp4"), pipe=pipe, progress=False) == told
    still = lab.edit(pipe, path, PROMPT, strength=0, **QUICK)
    assert lab.replay(still.save(tmp_path / "still.mp4"), pipe=pipe, progress=False) == still


def test_wrong_edits_are_refused_with_the_fix(pipe, clip):  # noqa: F811
    for wrong in ({"strength": 1.2}, {"strength": -0.1}, {"image_strength": 2}):
        with pytest.raises(ValueError, match="strength lies between 0"):
            lab.edit(pipe, clip, PROMPT, **{**QUICK, **wrong})
    told = {"source_prompt": "a red ball"}
    for wrong, fix in (({"source_prompt": " "}, "leave it away"), (told | {"image_strength": 0.4}, "image_strength"),
                       (told | {"noise": torch.zeros(1)}, "source of noise"),
                       ({"num_draws": 2}, "num_draws needs source_prompt"),
                       (told | {"num_draws": 0}, "num_draws")):  # fmt: skip
        with pytest.raises(ValueError, match=fix):
            lab.edit(pipe, clip, PROMPT, **QUICK, **wrong)
    card = replace(pipe.card, tasks=("text2world",))
    with pytest.raises(ValueError, match="cannot edit the first pixel frame"):
        lab.edit(Pipeline(replace(pipe.model, card=card)), clip, PROMPT, image_strength=0.4, **QUICK)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        lab.edit(pipe, "nowhere.mp4", PROMPT, **QUICK)
