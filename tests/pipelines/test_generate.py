"""The four tasks on a small random network: what goes in, what comes out, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from random_nano import pipe, random_nano, write_random_nano  # noqa: F401 (fixtures)

from cosmos_lab import catalog, video
from cosmos_lab.nn.wavelet_vae import WaveletVAE
from cosmos_lab.noise import Keyed
from cosmos_lab.pipelines.edit import edit
from cosmos_lab.pipelines.generate import Pipeline, load

QUICK = {"num_steps": 2, "num_pixel_frames": 9, "progress": False}
PROMPT = "a red ball rolls to the left"


@pytest.fixture(scope="module")
def clip(pipe):  # noqa: F811
    return pipe.text2world(PROMPT, seed=3, **QUICK)


def pictures(count, height=60, width=100, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (count, height, width, 3), dtype=np.uint8)


def test_text2world_has_the_asked_shape(pipe, clip):  # noqa: F811
    assert clip.frames.shape == (9, 112, 192, 3) and clip.frames.dtype == np.uint8 and clip.fps == 16
    assert clip.latents.shape == (1, 16, 3, 14, 24) and torch.isfinite(clip.latents).all()
    assert set(clip.timing) == {"text", "encode", "denoise", "decode"}


def test_seed_prompt_and_negative_prompt_decide_the_clip(pipe, clip):  # noqa: F811
    again = pipe.text2world(PROMPT, seed=3, **QUICK)
    assert again == clip
    for change in ({"seed": 4}, {"prompt": "a blue box"}, {"negative_prompt": "a green ball"}, {"guidance": 1.0}):
        arguments = {"prompt": PROMPT, "seed": 3, **QUICK, **change}
        other = pipe.text2world(**arguments)
        assert other != clip and not torch.equal(other.latents, clip.latents), change


def test_without_guidance_the_negative_prompt_does_nothing(pipe):  # noqa: F811
    plain = pipe.text2world(PROMPT, guidance=0.0, **QUICK)
    with_negative = pipe.text2world(PROMPT, guidance=0.0, negative_prompt="a green ball", **QUICK)
    assert torch.equal(plain.latents, with_negative.latents)


def test_text2image_is_one_picture(pipe):  # noqa: F811
    picture = pipe.text2image(PROMPT, num_steps=2, progress=False)
    assert picture.frames.shape == (1, 112, 192, 3) and picture.is_image


def test_given_pixel_frames_are_kept_and_are_the_last_ones(pipe):  # noqa: F811
    given = pictures(8)
    whole = pipe.video2world(given, PROMPT, **QUICK)
    last = pipe.video2world(given[-5:], PROMPT, **QUICK)
    assert np.array_equal(whole.frames, last.frames)
    assert not np.array_equal(whole.frames, pipe.video2world(given[:5], PROMPT, **QUICK).frames)
    fitted = video.fit_to_network(given[-5:], 112, 192, resize="round")
    latents = pipe.model.vae.encode(fitted)
    # The sample's given latent frames are the encoded ones, untouched by the solver.
    assert torch.equal(whole.latents[:, :, :2], latents)
    assert whole.provenance["settings"]["num_conditional_frames"] == 5


def test_image2world_takes_paths_pictures_and_arrays_alike(pipe, tmp_path):  # noqa: F811
    picture = pictures(1)[0]
    Image.fromarray(picture).save(tmp_path / "start.png")
    clips = [pipe.image2world(given, PROMPT, **QUICK)
             for given in (str(tmp_path / "start.png"), tmp_path / "start.png", Image.fromarray(picture), picture)]
    assert all(np.array_equal(clips[0].frames, other.frames) for other in clips[1:])
    assert clips[0].provenance["input"]["path"] and clips[2].provenance["input"]["path"] is None


def test_a_generation_can_be_continued(pipe, clip):  # noqa: F811
    following = pipe.video2world(clip, PROMPT, **QUICK)
    assert following.latents.shape == clip.latents.shape
    assert following.provenance["input"]["sha256"]


def test_latents_decode_to_the_same_pixels(pipe, clip):  # noqa: F811
    latents_only = pipe.text2world(PROMPT, seed=3, output="latents", **QUICK)
    assert latents_only.frames is None and np.array_equal(pipe.decode(latents_only.latents), clip.frames)
    with pytest.raises(ValueError, match="latents only"):
        latents_only.contact_sheet()


def test_the_trajectory_ends_in_the_clip(pipe, clip):  # noqa: F811
    steps = list(pipe.denoise(PROMPT, seed=3, num_steps=2, num_pixel_frames=9))
    assert [step.index for step in steps] == [0, 1, 2] and steps[0].sigma == pytest.approx(80)
    assert torch.equal(steps[-1].x0, clip.latents)
    given = list(pipe.denoise(PROMPT, given=pictures(5), num_conditional_frames=5, num_steps=1, num_pixel_frames=9))
    assert torch.equal(given[0].x0[:, :, :2], given[-1].x0[:, :, :2])


def test_a_long_prompt_is_cut_and_that_is_recorded(pipe):  # noqa: F811
    long = pipe.text2world("red ball " * 5000, **QUICK)
    tokens = long.provenance["tokens"]
    assert tokens["kept"] == 32 and tokens["dropped"] > 9000
    assert torch.equal(long.latents, pipe.text2world("red ball " * 100, **QUICK).latents)


def test_noise_and_embeddings_can_be_given(pipe, clip):  # noqa: F811
    noise = Keyed(3)((1, 16, 3, 14, 24), purpose="initial")
    by_tensor = pipe.text2world(PROMPT, noise=noise, **QUICK)
    assert torch.equal(by_tensor.latents, clip.latents) and "noise" in by_tensor.provenance["given_by_hand"]
    embeds = pipe.model.text.encode([PROMPT])
    assert torch.equal(pipe.text2world("", seed=3, prompt_embeds=embeds, **QUICK).latents, clip.latents)
    with pytest.raises(ValueError, match=r"noise for this clip is \(1, 16, 3, 14, 24\)"):
        pipe.text2world(PROMPT, noise=noise[:, :, :2], **QUICK)


def test_an_interrupted_call_leaves_a_usable_pipeline(pipe, clip):  # noqa: F811
    def interrupted(shape, *, purpose="initial", step=0, branch=0):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipe.text2world(PROMPT, noise=interrupted, **QUICK)
    steps = pipe.denoise(PROMPT, seed=3, num_steps=2, num_pixel_frames=9)
    next(steps)
    steps.close()
    assert torch.is_grad_enabled()
    assert pipe.text2world(PROMPT, seed=3, **QUICK) == clip


def test_bfloat16_stays_near_float32(pipe, clip):  # noqa: F811
    from cosmos_lab.pipelines.generate import load

    half = load(pipe.name, dtype="bfloat16").text2world(PROMPT, seed=3, **QUICK)
    assert half.provenance["dtype"] == "bfloat16"
    # 8 bits of mantissa through two blocks and three evaluations, on latents of unit scale.
    assert (half.latents - clip.latents).abs().mean() < 0.1 * clip.latents.abs().mean()


def test_the_tokenizer_computes_in_float32_beside_a_bfloat16_transformer(tmp_path, monkeypatch):
    write_random_nano(tmp_path)
    model = load(tmp_path, device="cpu", dtype="bfloat16")
    assert model.dtype == torch.bfloat16 and model.tokenizer_dtype == torch.float32
    seen, encode = [], WaveletVAE.encode
    monkeypatch.setattr(WaveletVAE, "encode", lambda vae, pixels: seen.append(pixels) or encode(vae, pixels))
    frames = pictures(9, height=112, width=192)
    model.image2world(frames[0], PROMPT, **QUICK)
    edit(model, frames, PROMPT, strength=0.6, **QUICK)
    assert len(seen) == 2
    for pixels, given in zip(seen, (frames[:1], frames)):
        assert torch.equal(pixels, video.to_network(given)) and pixels.dtype == torch.float32


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"prompt": " "}, "the prompt is empty"),
        ({"num_pixel_frames": 34}, "use 33 or 37"),
        ({"num_pixel_frames": 0}, "use 1 or 5"),
        ({"resolution": (100, 190)}, "nearest size that it can is 192x96"),
        ({"resolution": "112x192"}, "choose one of 112"),
        ({"resolution": "a,b"}, "height,width"),
        ({"aspect_ratio": "1:1"}, "choose one of 16:9"),
        ({"num_steps": 0}, "num_steps is a whole number from 1 on"),
        ({"seed": -1}, "seed is a whole number from 0 on"),
        ({"seed": 1.5}, "seed is a whole number"),
        ({"guidance": float("nan")}, "guidance is a number"),
        ({"fps": 0}, "fps is a number from 1 on"),
        ({"fps": 1e12}, "fps is a number from 1 on and at most 1000"),
        ({"num_steps": 10**20}, "num_steps is a whole number from 1 on and at most 10000"),
        ({"guidance": 10**400}, "guidance is a number from 0 on"),
        ({"prompt": "a \ud83d"}, "the prompt holds half a character"),
        ({"negative_prompt": "a \ud83d"}, "the negative prompt holds half a character"),
        ({"output": "video"}, "output is 'pixels' or 'latents'"),
    ],
)
def test_wrong_options_are_refused_with_the_fix(pipe, arguments, message):  # noqa: F811
    with pytest.raises(ValueError, match=message):
        pipe.text2world(**{"prompt": PROMPT, "progress": False, **arguments})


def test_unknown_keywords_are_refused(pipe):  # noqa: F811
    with pytest.raises(TypeError, match="unknown keyword arguments steps"):
        pipe.text2world(PROMPT, steps=3)


def test_wrong_inputs_are_refused_with_the_fix(pipe, tmp_path):  # noqa: F811
    Image.fromarray(pictures(1)[0]).save(tmp_path / "still.png")
    with pytest.raises(ValueError, match="a still image cannot be continued from 5"):
        pipe.video2world(tmp_path / "still.png", PROMPT, **QUICK)
    with pytest.raises(ValueError, match="the clip has only 3"):
        pipe.video2world(pictures(3), PROMPT, **QUICK)
    with pytest.raises(ValueError, match="continues 1 or 5 pixel frames, not 2"):
        pipe.video2world(pictures(3), PROMPT, num_conditional_frames=2, **QUICK)
    with pytest.raises(ValueError, match="continues at least 1"):
        pipe.video2world(pictures(3), PROMPT, num_conditional_frames=0, **QUICK)
    with pytest.raises(ValueError, match="leave nothing to generate"):
        pipe.video2world(pictures(5), PROMPT, num_pixel_frames=5, num_steps=1, progress=False)
    with pytest.raises(FileNotFoundError, match="nowhere.mp4"):
        pipe.video2world("nowhere.mp4", PROMPT, **QUICK)
    with pytest.raises(ValueError, match="uint8"):
        pipe.image2world(np.zeros((4, 4, 3)), PROMPT, **QUICK)


@pytest.mark.parametrize(
    "name", ["predict2-2b-video2world-720p-16fps", "cosmos1-7b-video2world", "predict1-7b-video2world",
             "predict2.5-2b-post-trained", "predict2.5-2b-pre-trained"],
)  # fmt: skip
def test_every_generation_samples_with_its_own_rules(pipe, name):  # noqa: F811
    """Their schedules, solvers, conditions and noise, on the small network: it runs and keeps what was given."""
    official = catalog.card(name)
    card = replace(pipe.card, sampling=official.sampling, pictures=replace(official.pictures, resize="round"))
    other = Pipeline(replace(pipe.model, card=card))
    count = official.pictures.conditional_pixel_frames[-1]
    made = other.video2world(pictures(count), PROMPT, num_conditional_frames=count, num_steps=3, num_pixel_frames=13,
                             progress=False)  # fmt: skip
    assert torch.isfinite(made.latents).all()
    fitted = video.fit_to_network(pictures(count), 112, 192, resize="round")
    given = pipe.model.vae.encode(fitted) * official.sampling.sigma_data
    kept = made.latents[:, :, : given.shape[2]]
    scale = given.abs().mean()
    # Predict2.5 ends near the given latents (a hundredth of the noise remains, or an eighth in its other grid).
    assert (kept - given).abs().mean() < (0.3 if card.sampling.condition == "velocity" else 0.01) * scale
    assert (made.latents[:, :, given.shape[2] :]).abs().mean() > 0


def test_an_unknown_model_lists_the_known():
    import cosmos_lab as lab

    with pytest.raises(ValueError, match="there is no model 'nanoo'; did you mean nano"):
        lab.load("nanoo")
    with pytest.raises(OSError, match="model-720p-16fps.pt"):
        lab.load("predict2-2b-video2world-720p-16fps")
    with pytest.raises(ValueError, match="float32 or bfloat16"):
        lab.load("nano", dtype="float8")


def test_a_card_can_let_another_model_paint_the_first_pixel_frame(pipe, tmp_path):  # noqa: F811
    """Predict2's text2world: text2image with the same prompt, negative prompt and seed, a JPEG, then image2world."""
    import cosmos_lab as lab

    card = replace(pipe.card, first_frame="painter", negative_prompt="a green ball")
    two_phase = Pipeline(replace(pipe.model, card=card), open_first_frame=lambda: pipe)
    made = two_phase.text2world(PROMPT, seed=3, **QUICK)
    picture = pipe.text2image(PROMPT, seed=3, negative_prompt="a green ball", progress=False).frames[0]
    by_hand = pipe.image2world(
        video.through_jpeg(picture), PROMPT, seed=3, negative_prompt="a green ball", **QUICK
    )  # fmt: skip
    assert torch.equal(made.latents, by_hand.latents)
    assert made.provenance["settings"]["task"] == "text2world" and made.provenance["input"] is None
    assert lab.replay(made.save(tmp_path / "clip.mp4"), pipe=two_phase, progress=False) == made
    with pytest.raises(ValueError, match="begins text2world with painter"):
        Pipeline(replace(pipe.model, card=card)).text2world(PROMPT, **QUICK)


def test_the_painters_weights_are_part_of_the_provenance(pipe, tmp_path):  # noqa: F811
    """Of text2world and of edits: replay refuses another painter, on files and where its weights have changed."""
    import cosmos_lab as lab

    def two_phase(digest):
        painter = Pipeline(replace(pipe.model, digest=digest), "painter")
        return Pipeline(replace(pipe.model, card=replace(pipe.card, first_frame="painter")),
                        open_first_frame=lambda: painter)  # fmt: skip

    before, after = two_phase("1" * 64), two_phase("2" * 64)
    given = video.write_video(tmp_path / "given.mp4", pictures(9), fps=16) or tmp_path / "given.mp4"
    for made in (before.text2world(PROMPT, **QUICK), lab.edit(before, given, PROMPT, strength=0.5, **QUICK)):
        painter = made.provenance["painter"]
        assert (painter["model"], painter["weights"]) == ("painter", "1" * 64)
        path = made.save(tmp_path / "made.mp4")
        assert lab.replay(path, pipe=before, progress=False) == made
        with pytest.raises(ValueError, match="made with weights 11.*painter now has 22"):
            lab.replay(path, pipe=after, progress=False)


def test_a_painters_weights_are_known_without_loading_it(tmp_path):
    from cosmos_lab.pipelines.painter import Painter
    from cosmos_lab.runtime.official import fingerprint

    name, root = "predict2-2b-text2image", tmp_path / "checkpoints"
    painter = Painter(name=name, options={"checkpoints": root, "device": "cpu"})
    assert painter.weights() is None
    for part in catalog.card(name).files.values():
        (root / part).parent.mkdir(parents=True, exist_ok=True)
        (root / part).write_text(part)
    files = [root / part for part in catalog.card(name).files.values()]
    assert painter.weights() == fingerprint(files, choices="False None")
    other = tmp_path / "mine.pt"
    other.write_text("other")
    tuned = Painter(name=name, options={"checkpoints": root, "dit_path": str(other), "ema": True, "lora": None})
    assert tuned.weights() == fingerprint([other, *files[1:]], choices="True None") != painter.weights()


def test_a_gpu_that_is_too_small_is_said_with_the_fix(pipe, clip, monkeypatch):  # noqa: F811
    import weakref

    from cosmos_lab.pipelines.generate import load

    held = []

    def full(*_, **__):
        activations = torch.zeros(3)
        held.append(weakref.ref(activations))
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with monkeypatch.context() as patched:
        patched.setattr(pipe.model.dit, "forward", full)
        with pytest.raises(MemoryError, match="9 pixel frames of 192x112: ask for a smaller resolution") as caught:
            pipe.text2world(PROMPT, **QUICK)
        assert caught.value.__traceback__ and held[0]() is None
        with pytest.raises(MemoryError, match="9 pixel frames of 192x112"):
            list(pipe.denoise(PROMPT, num_steps=2, num_pixel_frames=9))
    assert pipe.text2world(PROMPT, seed=3, **QUICK) == clip

    def full_machine(*_, **__):
        torch.empty(2**60)

    with monkeypatch.context() as patched:
        patched.setattr(pipe.model.dit, "forward", full_machine)
        with pytest.raises(MemoryError, match="this machine has not enough memory for 9 pixel .* a machine with more"):
            pipe.text2world(PROMPT, **QUICK)
    monkeypatch.setattr("cosmos_lab.pipelines.generate.load_any", full)
    with pytest.raises(MemoryError, match="the GPU has not enough memory for nano in bfloat16: .* card with more"):
        load("nano", dtype="bfloat16")
