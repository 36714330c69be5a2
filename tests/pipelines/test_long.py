"""Long videos: seeds, overlap, and what one chunk hands to the next."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from random_nano import pipe, random_nano  # noqa: F401 (fixtures)

import cosmos_lab as lab
from cosmos_lab import video
from cosmos_lab.pipelines.generate import Pipeline

QUICK = {"num_steps": 1, "num_pixel_frames": 9, "progress": False}
PROMPT = "a red ball rolls to the left"


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "start.png"
    Image.fromarray(np.full((60, 80, 3), 90, dtype=np.uint8)).save(path)
    return path


@pytest.mark.parametrize("count", [1, 5])
def test_chunks_continue_each_other_with_the_overlap_shown_once(pipe, count):  # noqa: F811
    given = np.random.default_rng(0).integers(0, 255, (7, 112, 192, 3), dtype=np.uint8)
    made = lab.long_video(pipe, given, PROMPT, num_chunks=3, num_conditional_frames=count, seed=4, **QUICK)
    chunks = [pipe.video2world(given, PROMPT, num_conditional_frames=count, seed=4, **QUICK)]
    for seed in (5, 6):
        chunks.append(pipe.video2world(chunks[-1], PROMPT, num_conditional_frames=count, seed=seed, **QUICK))
    by_hand = np.concatenate([chunks[0].frames, chunks[1].frames[count:], chunks[2].frames[count:]])
    assert made.frames.shape[0] == 9 + 2 * (9 - count) and np.array_equal(made.frames, by_hand)
    assert made.provenance["settings"]["num_chunks"] == 3 and made.latents.shape[2] == 9


def test_chunks_can_be_cut_and_overlap_in_their_own_way(pipe, tmp_path):  # noqa: F811
    """Predict2.5's sliding windows: 16 pixel frames in chunks of 7 with an overlap of 1, the first one given 5."""
    path = tmp_path / "given.mp4"
    video.write_video(path, np.random.default_rng(0).integers(0, 255, (7, 112, 192, 3), dtype=np.uint8), fps=16)
    windows = {"num_output_frames": 16, "chunk_size": 7, "chunk_overlap": 1, "num_conditional_frames": 5}
    made = lab.long_video(pipe, path, PROMPT, seed=4, **windows, **QUICK)
    chunks = [pipe.video2world(path, PROMPT, num_conditional_frames=5, seed=4, **QUICK).frames[:7]]
    for seed in (5, 6):
        chunks.append(pipe.image2world(chunks[-1][-1], PROMPT, seed=seed, **QUICK).frames[:7])
    by_hand = np.concatenate([chunks[0], chunks[1][1:], chunks[2][1:]])[:16]
    assert np.array_equal(made.frames, by_hand) and made.provenance["settings"]["num_chunks"] == 3
    assert lab.replay(made.save(tmp_path / "long.mp4"), pipe=pipe, progress=False) == made


@pytest.mark.parametrize("total, chunks", [(5, 1), (9, 1), (10, 2), (17, 2), (18, 3), (77, 10)])
def test_as_many_chunks_as_the_length_needs(pipe, total, chunks):  # noqa: F811
    """1 + ceil((total - chunk) / (chunk - overlap)), chunks of 9 pixel frames with an overlap of 1."""
    settings = lab.long_video.plan(pipe, None, PROMPT, num_output_frames=total, **QUICK).settings
    assert (settings.num_chunks, settings.num_output_frames) == (chunks, total)


def test_it_can_begin_with_the_prompt_alone(pipe):  # noqa: F811
    made = lab.long_video(pipe, None, PROMPT, num_chunks=2, seed=4, **QUICK)
    assert np.array_equal(made.frames[:9], pipe.text2world(PROMPT, seed=4, **QUICK).frames)


def test_officially_files_stand_between_chunks(pipe):  # noqa: F811
    card = replace(pipe.card, pictures=replace(pipe.card.pictures, hand_over="files"))
    official = Pipeline(replace(pipe.model, card=card))
    made = lab.long_video(official, None, PROMPT, num_chunks=2, **QUICK)
    first = pipe.text2world(PROMPT, **QUICK)
    through = video.through_jpeg(first.frames[-1])
    second = pipe.image2world(through, PROMPT, seed=1, **QUICK)
    assert np.array_equal(made.frames[9:], second.frames[1:])
    assert lab.long_video(official, None, PROMPT, num_chunks=2, num_conditional_frames=5, **QUICK).frames.shape[0] == 13


def test_a_long_video_is_saved_and_made_again(pipe, picture):  # noqa: F811
    made = lab.long_video(pipe, picture, PROMPT, num_chunks=2, **QUICK)
    assert lab.replay(made, pipe=pipe, progress=False) == made
    assert lab.replay(made.save(picture.with_name("long.mp4")), pipe=pipe, progress=False) == made
    from_text = lab.long_video(pipe, None, PROMPT, num_chunks=2, **QUICK)
    assert lab.replay(from_text.save(picture.with_name("text.mp4")), pipe=pipe, progress=False) == from_text
    assert set(made.timing) == {"text", "encode", "denoise", "decode"}


def test_wrong_long_videos_are_refused_with_the_fix(pipe, picture):  # noqa: F811
    for wrong, message in (
        ({"num_chunks": 0}, "num_chunks is a whole number from 1 on"),
        ({"num_conditional_frames": 2}, "continues 1 or 5 pixel frames"),
        ({"num_conditional_frames": 5}, "a still image cannot be continued from 5"),
        ({"num_conditional_frames": 0}, "continues at least 1"),
        ({"num_chunks": 2, "num_output_frames": 20}, "give one"),
        ({"num_output_frames": 0}, "num_output_frames is a whole number from 1 on"),
        ({"chunk_overlap": 2}, "continues 1 or 5 pixel frames, not 2"),
        ({"chunk_size": 10}, "more than the 1 of the overlap and at most the chunk's 9"),
        ({"chunk_size": 5, "chunk_overlap": 5}, "more than the 5 of the overlap"),
    ):
        with pytest.raises(ValueError, match=message):
            lab.long_video(pipe, picture, PROMPT, **{**QUICK, **wrong})
