import io
import os
import pickle
import zipfile
from collections import OrderedDict

import pytest
import torch
from official_files import write_torchscript

from cosmos_lab.runtime.checkpoints import WeightsError
from cosmos_lab.runtime.torchscript import read_torchscript

STATE = {
    "encoder.conv_in.0.conv3d.weight": torch.randn(4, 3, 1, 3, 3, generator=torch.Generator().manual_seed(0)),
    "encoder.conv_in.0.conv3d.bias": torch.arange(4.0),
    "encoder.narrow.weight": torch.arange(6.0).reshape(2, 3).bfloat16(),
    "encoder._arange": torch.arange(5),
}


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "encoder.jit"
    write_torchscript(STATE, path)
    return path


def rewritten(path, **entries):
    """The archive with some entries (by their last name) replaced; None leaves one out."""
    with zipfile.ZipFile(path) as old:
        contents = {info.filename: old.read(info) for info in old.infolist()}
    root = next(iter(contents)).split("/")[0]
    for name, content in entries.items():
        contents[f"{root}/{name.replace('__', '/')}"] = content
    out = path.with_name("changed.jit")
    with zipfile.ZipFile(out, "w") as new:
        for name, content in contents.items():
            if content is not None:
                new.writestr(name, content)
    return out


def with_pickle(path, content):
    return rewritten(path, **{"data.pkl": content})


def test_reads_what_torch_would_give(archive):
    read, expected = read_torchscript(archive), torch.jit.load(archive).state_dict()
    assert read.keys() == STATE.keys() == expected.keys()
    assert all(torch.equal(read[key], expected[key]) and read[key].dtype == expected[key].dtype for key in expected)


def test_views_of_one_storage_are_read_in_place(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    write_torchscript({"a.weight": whole, "b.weight": whole.t()[1:]}, tmp_path / "views.jit")
    read = read_torchscript(tmp_path / "views.jit")
    assert torch.equal(read["b.weight"], whole.t()[1:]) and read["b.weight"].stride() == (1, 4)


def test_code_of_an_archive_never_runs(archive, tmp_path):
    """Python in `code/` is not looked at, not even whether it compiles."""
    marker = tmp_path / "ran"
    bad = f"import os\nopen({str(marker)!r}, 'w')\nthis is no Python".encode()
    changed = rewritten(archive, **{"code____torch__.py": bad})
    assert read_torchscript(changed).keys() == STATE.keys()
    assert not marker.exists()


class Evil:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function", [os.system, eval, exec, os.unlink, torch.load, getattr, io.open])
def test_a_hostile_pickle_is_refused_and_nothing_happens(archive, tmp_path, function):
    marker = tmp_path / "ran"
    marker.write_text("untouched")
    argument = (
        f"open({str(marker)!r}, 'w')"
        if function in (eval, exec)
        else f"rm {marker}"
        if function is os.system
        else str(marker)
    )
    hostile = with_pickle(archive, pickle.dumps({"a": Evil(function, argument)}, protocol=2))
    with pytest.raises(WeightsError, match=r"changed\.jit is refused: its pickle asks for .*Nothing of it was run"):
        read_torchscript(hostile)
    assert marker.read_text() == "untouched"


@pytest.mark.parametrize("name", ["load", "_utils.os.system", "hub.load", "_rebuild_tensor_v2.__globals__"])
def test_only_exact_names_of_torch_are_known(archive, name):
    hostile = b"\x80\x02ctorch._utils\n" + name.encode() + b"\n."
    with pytest.raises(WeightsError, match="is refused"):
        read_torchscript(with_pickle(archive, hostile))


def test_classes_of_the_archive_are_empty_shells(archive):
    """Calling one, or giving it a method, builds an object without behaviour."""
    # __torch__.Evil(), then BUILD with a __reduce__ and a __class__ among its attributes
    shell = pickle.dumps({"__reduce__": "x", "inner": 3}, protocol=2)[2:-1]
    hostile = b"\x80\x02c__torch__\nEvil\n)\x81" + shell + b"b."
    assert read_torchscript(with_pickle(archive, hostile)) == {}


class Storage:
    pass


class StoragePickler(pickle.Pickler):
    def persistent_id(self, obj):
        return ("storage", torch.FloatStorage, "0", "cpu", 4) if isinstance(obj, Storage) else None


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [(0, (100,), (1,)), (3, (2,), (1,)), (0, (2, 2), (1, 5)), (-1, (2,), (1,)), (3, (2,), (-1,)), (0, (-4,), (1,))],
)
def test_a_tensor_outside_its_storage_is_refused(archive, offset, size, stride):
    call = Evil(torch._utils._rebuild_tensor_v2, Storage(), offset, size, stride, False, OrderedDict())
    content = io.BytesIO()
    StoragePickler(content, protocol=2).dump(call)
    with pytest.raises(WeightsError, match=r"changed\.jit is a damaged .* outside its storage"):
        read_torchscript(with_pickle(archive, content.getvalue()))


def test_entries_that_would_unpack_are_refused(archive):
    bomb = archive.with_name("bomb.jit")
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    with pytest.raises(WeightsError, match="data.pkl is compressed"):
        read_torchscript(bomb)


def test_cut_off_and_foreign_files_are_named(archive, tmp_path):
    archive.with_name("cut.jit").write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"cut\.jit is cut off.*Download it again"):
        read_torchscript(archive.with_name("cut.jit"))
    torch.save({"a": torch.zeros(2)}, tmp_path / "plain.jit")
    with pytest.raises(WeightsError, match=r"plain\.jit is no TorchScript archive"):
        read_torchscript(tmp_path / "plain.jit")
    with pytest.raises(WeightsError, match="missing"):
        read_torchscript(tmp_path / "absent.jit")
    gone = rewritten(archive, **{"data__0": None})
    with pytest.raises(WeightsError, match="damaged"):
        read_torchscript(gone)
