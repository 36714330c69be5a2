"""Captions tell the truth about their scene, at three lengths, in many words."""

import re
from itertools import islice

import numpy as np
import pytest

from cosmos_lab.worlds import vocabulary as words
from cosmos_lab.worlds.captions import LENGTHS, caption, corpus, describe, expand
from cosmos_lab.worlds.families import FAMILIES, MOTIONS, draw_scene
from cosmos_lab.worlds.scene import CAMERAS, COLORS, FLOORS, LIGHTS, SHAPES


def texts(grammar: str) -> set[str]:
    """Every text of a grammar without slots and numbers."""
    match = re.search(r"\[([^\[\]]*)\]", grammar)
    if not match:
        return {grammar}
    return set().union(
        *(texts(grammar[: match.start()] + option + grammar[match.end() :]) for option in match.group(1).split("|"))
    )


COLOR_TEXTS = {color: texts(grammar) for color, grammar in words.COLOR_WORDS.items()}
SHAPE_TEXTS = {shape: texts(grammar) for shape, grammar in words.SHAPE_WORDS.items()}


@pytest.fixture(scope="module")
def scenes():
    """Six scenes a family, drawn but not simulated: captions need no rollout."""
    return [draw_scene(seed, family) for family in FAMILIES for seed in range(6)]


def names_object(text: str, body) -> bool:
    pairs = (f"{color} {shape}" for color in COLOR_TEXTS[body.color] for shape in SHAPE_TEXTS[body.shape])
    return any(re.search(rf"\b{re.escape(pair)}\b", text, re.IGNORECASE) for pair in pairs)


def test_the_vocabulary_covers_everything_with_four_words_or_more():
    assert set(words.COLOR_WORDS) == set(COLORS) and set(words.SHAPE_WORDS) == set(SHAPES)
    for table, keys in (
        (words.FLOOR_WORDS, FLOORS), (words.LIGHT_WORDS, LIGHTS), (words.CAMERA_CLAUSE, CAMERAS),
        (words.ACTION, MOTIONS), (words.BRIEF, MOTIONS), (words.BEGINNING, FAMILIES),
    ):  # fmt: skip
        assert set(table) == set(keys)
    tables = (words.COLOR_WORDS, words.SHAPE_WORDS, words.FLOOR_WORDS, words.LIGHT_WORDS, words.CAMERA_CLAUSE)
    assert min(len(texts(grammar)) for table in tables for grammar in table.values()) >= 4


@pytest.mark.parametrize("table", [words.COLOR_WORDS, words.SHAPE_WORDS, words.FLOOR_WORDS, words.CAMERA_CLAUSE])
def test_no_synonym_means_two_things(table):
    found = [text for grammar in table.values() for text in texts(grammar)]
    assert len(found) == len(set(found))


@pytest.mark.parametrize("length", LENGTHS)
def test_captions_are_deterministic_varied_and_clean(scenes, length):
    for scene in scenes:
        some = [caption(scene, length, seed) for seed in range(6)]
        assert some == [caption(scene, length, seed) for seed in range(6)]
        assert len(set(some)) >= 3
        for text in some:
            assert text.isascii() and not re.search(r"[\[\]{}<>|]|\s\s|\s[.,]|\b[Aa] [aeiou]|\ban? an?\b", text), text
            assert not re.search(r"\b(\w+) \1\b", text, re.IGNORECASE), text


def test_lengths_are_as_promised(scenes):
    for scene in scenes:
        for seed in range(4):
            assert 3 <= len(caption(scene, "short", seed).split()) <= 8
            sentence = caption(scene, "sentence", seed)
            assert sentence.count(".") == 1 and sentence.endswith(".") and len(sentence.split()) <= 75
            dense = caption(scene, "dense", seed)
            assert 60 <= len(dense.split()) <= 110, dense


@pytest.mark.parametrize("length", ["sentence", "dense"])
def test_every_object_is_named_with_color_and_shape(scenes, length):
    for scene in scenes:
        said = describe(scene, length, 1)
        assert set(said.mentioned) == {body.name for body in scene.objects}
        group = scene.facts["group"] or {"names": [], "colors": []}
        for body in scene.objects:
            if body.name not in group["names"]:
                assert names_object(said.text, body), (body, said.text)
        for color in group["colors"]:
            assert any(text in said.text.lower() for text in COLOR_TEXTS[color])
        if group["names"]:
            assert words.NUMBER_WORDS[len(group["names"])] in said.text.lower()
        assert ("count" in said.stated) == (not group["names"])


def test_absent_colors_are_not_named(scenes):
    plain = {color for color in COLORS}
    for scene in scenes:
        present = {body.color for body in scene.objects}
        text = caption(scene, "sentence", 2).lower()
        tidy = re.sub(r"a green lawn|short grass|grassy|rose-pink|[a-z]+-colored", "", text)
        assert not {color for color in plain - present if re.search(rf"\b{color}\b", tidy)}, text


def test_stated_floor_camera_and_light_are_in_the_text_and_only_then(scenes):
    tables = {"floor": words.FLOOR_WORDS, "light": words.LIGHT_WORDS, "camera": words.CAMERA_CLAUSE}
    for scene in scenes:
        for seed in range(5):
            said = describe(scene, "sentence", seed)
            for attribute, table in tables.items():
                present = any(text in said.text.lower() for text in texts(table[getattr(scene, attribute)]))
                assert present == (attribute in said.stated), (attribute, said.text)
        assert {"floor", "camera", "light", "motion"} <= describe(scene, "dense", 0).stated


def test_directions_are_told_and_never_reversed(scenes):
    for scene in scenes:
        for length in LENGTHS:
            said = describe(scene, length, 3)
            event = re.split(r"(?i)the (?:camera|view)", said.text)[0] if length == "sentence" else said.text
            if length == "sentence" and re.match(r"(?i)the (?:camera|view)", said.text):
                event = said.text.split(" as ", 1)[1]
            for side, other in (("left", "right"), ("right", "left")):
                if scene.motion.split()[-1] == side and length != "dense":
                    assert side in event, said.text
                    assert not re.search(rf"to(ward)? the {other}\b|\b{other}ward\b|from the {side} to", event) or (
                        "from the" in scene.motion
                    ), said.text


def test_a_short_caption_states_no_more_than_it_says(scenes):
    for scene in scenes:
        said = describe(scene, "short", 0)
        assert "count" not in said.stated and "floor" not in said.stated and "camera" not in said.stated
        assert ("color" in said.stated) == bool(said.mentioned)
        assert all(names_object(said.text, scene.body(name)) for name in said.mentioned)


def test_sizes_are_stated_only_when_all_are_told(scenes):
    for scene in scenes:
        if describe(scene, "dense", 0).stated >= {"size"}:
            text = caption(scene, "dense", 0).lower()
            group = scene.facts["group"] or {"names": []}
            told = {body.name for body in scene.objects} - set(group["names"])
            sizes = texts(words.SIZE_WORDS["small"]) | texts(words.SIZE_WORDS["large"])
            assert len(re.findall(rf"\b({'|'.join(sizes)})\b", text)) >= len(told)


def test_plural_actors_take_plural_verbs():
    rng = np.random.default_rng(0)
    assert expand("<falls|fall>", rng, plural=True) == "fall" and expand("<falls|fall>", rng) == "falls"
    drawn = {expand("[a|b [c|d]]", rng) for _ in range(50)}
    assert drawn == {"a", "b c", "b d"}


def test_corpus_mixes_lengths_and_scenes():
    some = list(islice(corpus(60, seed=1), 60))
    assert some == list(corpus(60, seed=1)) and len(set(some)) >= 55
    assert min(len(text.split()) for text in some) <= 8 and max(len(text.split()) for text in some) >= 60


def test_an_unknown_length_is_refused(scenes):
    with pytest.raises(ValueError, match="dense"):
        caption(scenes[0], "long")
