import io
import json
import os
import pickle
import sys

import pytest
import torch
from safetensors.torch import save_file

from cosmos_lab.runtime.checkpoints import WeightsError
from cosmos_lab.runtime.state_files import read_state

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "b.bias": torch.ones(4).bfloat16()}


def equal(read):
    return read.keys() == STATE.keys() and all(torch.equal(read[key], STATE[key]) for key in STATE)


def test_one_state_in_every_kind_of_file(tmp_path):
    save_file(STATE, tmp_path / "model.safetensors")
    torch.save(STATE, tmp_path / "zipped.pt")
    torch.save(STATE, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"state_dict": STATE}, tmp_path / "wrapped.pt")
    for name in ("model.safetensors", "zipped.pt", "legacy.pth", "wrapped.pt", "."):
        assert equal(read_state(tmp_path / name)), name


def test_shards_are_put_together(tmp_path):
    places = {"a.weight": "model-00001-of-00002.safetensors", "b.bias": "model-00002-of-00002.safetensors"}
    for key, name in places.items():
        save_file({key: STATE[key]}, tmp_path / name)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    assert equal(read_state(tmp_path)) and equal(read_state(index))
    index.write_text(json.dumps({"weight_map": places | {"c": places["a.weight"]}}))
    with pytest.raises(WeightsError, match="lack 1 keys of its index: c"):
        read_state(index)
    (tmp_path / places["b.bias"]).unlink()
    with pytest.raises(WeightsError, match=r"lacks 1 of 2 shards: model-00002-of-00002\.safetensors"):
        read_state(tmp_path)
    index.write_text("{")
    with pytest.raises(WeightsError, match="index.json is damaged"):
        read_state(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="mapped files can be listed on Linux only")
@pytest.mark.parametrize("name", ["big.pt", "big.safetensors"])
def test_tensors_lie_in_the_mapped_file(tmp_path, name):
    state, path = {"a": torch.zeros(1 << 20)}, tmp_path / name
    save_file(state, path) if name.endswith("safetensors") else torch.save(state, path)
    read = read_state(path)
    with open("/proc/self/maps") as maps:
        assert str(path) in maps.read()
    assert read["a"].sum() == 0


def test_kernel_state_is_left_out(tmp_path):
    torch.save(STATE | {"a._extra_state": io.BytesIO(b"bytes")}, tmp_path / "model.pt")
    assert equal(read_state(tmp_path / "model.pt"))


class Evil:
    def __reduce__(self):
        return os.system, ("touch ran",)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Evil()}, tmp_path / "zipped.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"a": Evil()}, protocol=2))
    for name in ("zipped.pt", "plain.pt"):
        with pytest.raises(
            WeightsError, match=rf"{name} is no plain weight file: it wants to run code.*Nothing of it was run"
        ):
            read_state(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.98])
def test_a_truncated_file_is_named(tmp_path, name, part):
    state, path = {"a": torch.zeros(4096)}, tmp_path / name
    save_file(state, path) if name.endswith("safetensors") else torch.save(state, path)
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(WeightsError, match=rf"{name} (is cut off|cannot be read).*Download it again"):
        read_state(path)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer.*git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"", "empty"),
    ],
)
def test_what_comes_instead_of_weights_is_recognized(tmp_path, content, what):
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(WeightsError, match=what):
        read_state(tmp_path / "model.pt")


def test_other_contents_and_absent_files_are_named(tmp_path):
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(WeightsError, match="holds a list and not tensors"):
        read_state(tmp_path / "list.pt")
    torch.save({"a": torch.zeros(1), "epoch": 3}, tmp_path / "training.pt")
    with pytest.raises(WeightsError, match="other things than tensors: epoch"):
        read_state(tmp_path / "training.pt")
    with pytest.raises(WeightsError, match="absent.pt is missing"):
        read_state(tmp_path / "absent.pt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(WeightsError, match="holds no weights"):
        read_state(tmp_path / "folder")
