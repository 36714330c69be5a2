"""The reader's network: shapes, size, what sees time and what does not, files."""

import pytest
import torch
from einops import rearrange

from cosmos_lab.evaluation.reader import Reader, ReaderConfig, load_reader, save_reader

CLASSES = {"motion": ("left", "right", "fall"), "camera": ("static", "pan"), "count": ("0", "1", "2")}


@pytest.fixture(scope="module")
def reader():
    made = Reader(ReaderConfig(height=48, width=64, classes=CLASSES))
    made.initialize(torch.Generator().manual_seed(0))
    return made.eval()


@pytest.fixture(scope="module")
def video():
    return torch.rand(2, 3, 9, 48, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_it_is_small():
    assert sum(p.numel() for p in Reader(ReaderConfig.default()).parameters()) <= 1_000_000


@torch.no_grad()
def test_shapes(reader, video):
    out = reader(video)
    assert out.colors.shape == (2, 9, 10, 24, 32) and out.shapes.shape == (2, 9, 4, 24, 32)
    assert {name: tuple(logits.shape) for name, logits in out.clip.items()} == {
        "motion": (2, 3), "camera": (2, 2), "count": (2, 3)}  # fmt: skip
    assert out.view.shape == (2, 2) and out.features.shape == (2, 128)


@torch.no_grad()
def test_picked_pixel_frames_read_as_in_the_whole_clip(reader, video):
    at = torch.tensor([[3, 0], [8, 5]])
    picked, whole = reader(video, dense_at=at), reader(video)
    # The same arithmetic in another batch size: rounding only.
    for row in range(2):
        assert torch.allclose(picked.colors[row], whole.colors[row, at[row]], atol=1e-4)
    assert torch.allclose(picked.clip["motion"], whole.clip["motion"], atol=1e-4)


@torch.no_grad()
def test_objects_are_read_from_each_pixel_frame_alone_and_motion_from_their_order(reader, video):
    forward, backward = reader(video), reader(video.flip(2))
    assert torch.allclose(forward.colors, backward.colors.flip(1), atol=1e-4)
    assert not torch.allclose(forward.clip["motion"], backward.clip["motion"], atol=1e-4)


@torch.no_grad()
def test_where_things_are_matters_to_the_clip_heads(reader, video):
    """A mean over space could not tell a pan to the left from one to the right."""
    mirrored = reader(video.flip(-1)).clip["camera"]
    assert not torch.allclose(reader(video).clip["camera"], mirrored, atol=1e-3)


def test_other_sizes_are_refused(reader):
    with pytest.raises(ValueError, match="resize the clip first"):
        reader(torch.zeros(1, 3, 9, 48, 48))
    with pytest.raises(ValueError, match="nearest legal size is 112x192"):
        ReaderConfig(height=110, width=190, classes=CLASSES)


def test_every_weight_gets_a_gradient(reader, video):
    out = reader(video, dense_at=torch.tensor([[0], [1]]))
    total = out.colors.square().mean() + out.shapes.square().mean() + out.view.square().mean()
    (total + sum(logits.square().mean() for logits in out.clip.values())).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in reader.parameters())
    reader.zero_grad()


@torch.no_grad()
def test_saved_and_loaded(reader, video, tmp_path):
    save_reader(reader, tmp_path / "reader.safetensors", {"seed": "0"})
    again = load_reader(tmp_path / "reader.safetensors")
    assert again.config == reader.config and not again.training
    # Weights travel in half precision.
    assert torch.allclose(again(video).view, reader(video).view, atol=0.02)
    assert [path.name for path in tmp_path.iterdir()] == ["reader.safetensors"]


def test_missing_and_damaged_files_are_named(reader, tmp_path):
    with pytest.raises(ValueError, match="no reader at"):
        load_reader(tmp_path / "gone.safetensors")
    save_reader(reader, tmp_path / "cut.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "cut.safetensors").read_bytes()[:1000])
    with pytest.raises(ValueError, match="cut.safetensors is damaged"):
        load_reader(tmp_path / "cut.safetensors")


def test_initialization_is_an_argument(reader):
    other = Reader(reader.config)
    other.initialize(torch.Generator().manual_seed(0))
    for first, second in zip(reader.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(first, second)
    assert torch.equal(rearrange(other.dense.bias, "c -> c 1")[9], torch.tensor([4.0]))
