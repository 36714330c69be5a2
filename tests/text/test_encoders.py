"""Text tokens and embeddings: lengths, truncation, masks, and words that training never saw."""

import pytest
import torch

from cosmos_lab.text.encoders import T5TextEncoder, nano_text_config, train_tokenizer

CAPTIONS = [f"A {color} {shape} slides down the ramp, then stops."
            for color in ("red", "blue", "green") for shape in ("ball", "cylinder", "box")]  # fmt: skip


@pytest.fixture(scope="module")
def words():
    return train_tokenizer(CAPTIONS, vocab_size=400)


@pytest.fixture(scope="module")
def encoder(words):
    return T5TextEncoder(nano_text_config(words.get_vocab_size()), words, num_tokens=16)


def test_known_words_are_one_token_each(words):
    assert words.encode(CAPTIONS[0]).tokens == [
        "▁a", "▁red", "▁ball", "▁slides", "▁down", "▁the", "▁ramp", ",", "▁then", "▁stops", ".", "</s>",
    ]  # fmt: skip
    assert words.get_vocab_size() <= 400


@pytest.mark.parametrize("text", ["a violet sphere", "Ünïcode 漢字 🙂", "1234 + x", "RED BALL"])
def test_unseen_words_are_spelled_not_lost(words, text):
    import unicodedata

    ids = words.encode(text).ids
    assert words.token_to_id("<unk>") not in ids
    assert words.decode(ids) == unicodedata.normalize("NFKC", text).lower()


def test_the_tokenizer_survives_its_file(words, tmp_path):
    from tokenizers import Tokenizer

    words.save(str(tmp_path / "tokenizer.json"))
    again = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert again.encode("a violet ball 漢").ids == words.encode("a violet ball 漢").ids


def test_rows_past_the_text_are_zero_and_the_rest_does_not_depend_on_the_batch(encoder):
    together = encoder.encode(["a red ball", "a green cylinder slides down the ramp"])
    alone = encoder.encode(["a red ball"])
    assert together.shape == (2, 16, 256)
    assert together[0, 4:].abs().max() == 0 and together[0, :4].abs().min(dim=-1).values.max() > 0
    # Only the order of float32 sums may differ between batches.
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=0)


def test_what_is_added_to_the_logits_is_what_the_model_would_make_of_the_mask(encoder):
    """The mask is handed over ready made, so that nothing has to look at it; the vectors are the same bits."""
    tokens = encoder.tokenize(["a red ball", "a green cylinder slides down the ramp", ""])
    with torch.no_grad():
        usual = encoder.model(input_ids=tokens.ids, attention_mask=tokens.mask.long()).last_hidden_state
        found = encoder(tokens.ids, tokens.mask)
        unmasked = encoder.model(input_ids=tokens.ids).last_hidden_state
    assert torch.equal(found, usual * tokens.mask[..., None])
    assert not torch.allclose(found, unmasked * tokens.mask[..., None], atol=1e-3)


def test_truncation_keeps_the_end_mark_and_is_counted(encoder):
    tokens = encoder.tokenize(["red " * 50, "red"])
    assert tokens.dropped == (35, 0) and tokens.mask.sum(dim=1).tolist() == [16, 2]
    assert tokens.ids[0, -1] == encoder.end and tokens.ids[1, 2:].eq(encoder.pad).all()


def test_an_empty_text_is_its_end_mark(encoder):
    assert encoder.tokenize([""]).mask.sum() == 1


def test_new_weights_are_seeded_and_leave_the_global_generator_alone(words):
    before = torch.random.get_rng_state()
    first, second = (T5TextEncoder(nano_text_config(400), words, num_tokens=8).model.shared.weight for _ in range(2))
    assert torch.equal(first, second) and torch.equal(before, torch.random.get_rng_state())


def test_the_encoder_is_small_enough_to_ship(encoder):
    assert sum(parameter.numel() for parameter in encoder.parameters()) < 3_500_000


def test_what_does_not_fit_is_refused(words):
    with pytest.raises(ValueError, match="use 400 or more"):
        train_tokenizer(CAPTIONS, vocab_size=300)
    with pytest.raises(ValueError, match="do not fit into a table of 100"):
        T5TextEncoder(nano_text_config(100), words)
    with pytest.raises(ValueError, match="at least 2 tokens"):
        T5TextEncoder(nano_text_config(400), words, num_tokens=1)
