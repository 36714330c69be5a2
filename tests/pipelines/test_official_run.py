"""Predict2's text2world from files in the official layout, end to end: two models, one clip, and its replay."""

import json
from dataclasses import replace

import pytest
from cli_runs import PROMPT, run
from official_files import tiny_card, write_dit, write_official
from tiny_diffusers import randomize

from cosmos_lab import catalog
from cosmos_lab.nn.dit import DiT

CLIP, PICTURE = "predict2-2b-video2world-720p-16fps", "predict2-2b-text2image"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Files of both models with tiny networks, and cards that fit them."""
    small = {CLIP: {"sizes": {"720": {"16:9": (64, 32)}}, "num_pixel_frames": 5},
             PICTURE: {"sizes": {"1024": {"16:9": (64, 32)}}}}  # fmt: skip
    cards = {name: replace(tiny_card(name), **sizes) for name, sizes in small.items()}
    monkeypatch.setattr(catalog, "cards", lambda: cards)
    monkeypatch.chdir(tmp_path)
    for card in cards.values():
        write_official(card, tmp_path / "weights")
    write_dit(randomize(DiT(cards[PICTURE].dit), seed=5), tmp_path / "mine.pt")
    return tmp_path


def test_two_phases_are_made_again_with_the_weights_of_both(root, capsys):
    (root / "in.json").write_text(json.dumps([{"prompt": PROMPT, "output_video": "clip.mp4"}]))
    given = ["text2world", "--model_size", "2B", "--checkpoint_dir", "weights", "--dit_path_text2image", "mine.pt",
             "--batch_input_json", "in.json", "--num_steps", "2", "--disable_guardrail", "--quiet"]  # fmt: skip

    def status():
        assert run(*given) == 0
        return json.loads((root / "batch_report.json").read_text())["items"][0]["status"]

    assert status() == "made" and status() == "kept"
    provenance = json.loads((root / "clip.json").read_text())
    # Whole paths, so that a replay finds them from any folder.
    places = {"checkpoints": str(root / "weights"), "dit_path": str(root / "mine.pt")}
    assert provenance["loaded"] == {"checkpoints": places["checkpoints"]} and provenance["input"] is None
    assert provenance["painter"]["loaded"] == places
    assert provenance["painter"]["weights"] != provenance["weights"]
    assert run("replay", "clip.mp4", "--quiet") == 0 and "the same bytes" in capsys.readouterr().out
    write_dit(randomize(DiT(catalog.card(PICTURE).dit), seed=6), root / "mine.pt")
    assert run("replay", "clip.mp4", "--quiet") == 1
    assert f"but {PICTURE} now has" in capsys.readouterr().err
    assert status() == "made" and status() == "kept"
    assert run("replay", "clip.mp4", "--quiet") == 0
    given.append("--downcast_text_encoder")
    assert status() == "made" and status() == "kept" and run("replay", "clip.mp4", "--quiet") == 0
