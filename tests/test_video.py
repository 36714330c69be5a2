"""Reading, fitting and writing pictures: the official fits, hostile files, exact counts."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from cosmos_lab import video

GOLDEN = Path(__file__).parent / "golden"


def golden(name):
    return load_file(f"{GOLDEN}/{name}.safetensors")


def golden_cases(name):
    with safe_open(f"{GOLDEN}/{name}.safetensors", "pt") as file:
        return json.loads(file.metadata()["config"])["cases"]


def moving_square(count=9, height=48, width=64):
    pixels = np.full((count, height, width, 3), 40, dtype=np.uint8)
    for t in range(count):
        pixels[t, 10:30, 4 + 4 * t : 20 + 4 * t] = (220, 60, 30)
    return pixels


@pytest.mark.parametrize("name, resize", [("predict2_preprocess", "truncate"), ("predict2_5_preprocess", "round")])
def test_fit_equals_the_official_pixels(name, resize):
    tensors = golden(name)
    checked = 0
    for key, case in golden_cases(name).items():
        if case.get("function") not in ("image", "video"):
            continue
        source = tensors[f"in/{case['source']}"].numpy()
        source = source[None] if source.ndim == 3 else source
        source = source[-case.get("conditioning_pixel_frames", 1) :]
        ours = torch.from_numpy(video.fit(source, *case["target"], resize=resize)).permute(3, 0, 1, 2)
        official = tensors[f"out/{key}"][0, :, : len(source)]
        difference = (ours.int() - official.int()).abs()
        # Antialias weights differ in their last bit between torch releases; only values on the edge of rounding move.
        assert difference.max() <= 1 and (difference > 0).float().mean() < 0.02, key
        checked += 1
    assert checked >= 8


@pytest.mark.parametrize("case", ["image/img97x61_to_32x48", "video/vid12x30x50_to_32x48_n1"])
def test_fit_before_truncation_equals_the_official_values(case):
    tensors = golden("predict2_preprocess")
    settings = golden_cases("predict2_preprocess")[case]
    source = tensors[f"in/{settings['source']}"].numpy()
    last = source[None] if source.ndim == 3 else source[-1:]
    ours = video.fit_unit(last, *settings["target"])[0].transpose(0, 1)
    torch.testing.assert_close(ours, tensors[f"out/{case}/float01"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name, resize", [("predict2_preprocess", "truncate"), ("predict2_5_preprocess", "round")])
def test_colors_of_a_transparent_picture_are_fitted_officially(name, resize):
    """Predict2.5 drops alpha; Predict2 hands it to its tokenizer, which refuses a fourth channel."""
    tensors = golden(name)
    opaque = video.from_image(tensors["in/rgba"].numpy(), alpha="drop")
    ours = torch.from_numpy(video.fit(opaque, 16, 16, resize=resize)).permute(3, 0, 1, 2)
    difference = (ours.int() - tensors["out/image/rgba_to_16x16"][0, :3, :1].int()).abs()
    assert difference.max() <= 1 and (difference > 0).float().mean() < 0.02


GIVEN = {
    "predict2_preprocess": {"img97x61_1f": ((32, 32), 1), "vid12x30x50_5f": ((16, 32), 5)},
    "predict2_5_preprocess": {
        "img97x61_png_latent1": ((32, 48), 1), "vid12x30x50_mp4_latent2": ((16, 32), 5),
        "img97x61_png_latent2": ((16, 32), 1),
    },
}  # fmt: skip


@pytest.mark.parametrize("name, case", [(name, case) for name, cases in GIVEN.items() for case in cases])
def test_given_pixel_frames_reach_the_tokenizer_as_officially(name, case):
    """Whole official calls up to the tokenizer, in bfloat16; what follows the given pixel frames cannot reach them."""
    tensors, (size, count) = golden(name), GIVEN[name][case]
    source = tensors[f"in/{case.split('_')[0]}"].numpy()
    given = source[None] if source.ndim == 3 else source[-count:]
    resize = "truncate" if name == "predict2_preprocess" else "round"
    ours = video.fit_to_network(given, *size, resize=resize, dtype=torch.bfloat16)
    official, table = tensors[f"out/vae_input/{case}"][:, :, :count], tensors["out/normalise_table"].float()
    assert ours.shape == official.shape and torch.isin(ours.float(), table).all()
    levels = [(values.float()[..., None] - table).abs().argmin(dim=-1) for values in (ours, official)]
    difference = (levels[0] - levels[1]).abs()
    # Antialias weights differ in their last bit between torch releases; only values on the edge of rounding move.
    assert difference.max() <= 1 and (difference > 0).float().mean() < 0.02


def test_bicubic_fit_equals_the_official_pixels():
    tensors = golden("predict1_preprocess")
    for size in ((24, 32), (48, 64)):
        ours = video.fit_to_network(tensors["in/rgb"].numpy()[None], *size, resize="bicubic", dtype=torch.bfloat16)
        official = tensors[f"out/rgb_{size[0]}x{size[1]}"]
        # One unit in the last place of bfloat16 near 1, from the antialias weights of other torch releases.
        torch.testing.assert_close(ours.float(), official.float(), atol=0.008, rtol=0)
        assert (ours == official).float().mean() > 0.98
        blended = video.from_image(tensors["in/rgba"].numpy())
        ours = video.fit_to_network(blended, *size, resize="bicubic", dtype=torch.bfloat16)
        torch.testing.assert_close(ours.float(), tensors[f"out/rgba_{size[0]}x{size[1]}"].float(), atol=0.008, rtol=0)


@pytest.mark.parametrize("name", ["predict2_preprocess", "predict2_5_preprocess"])
def test_network_values_of_every_level_are_official(name):
    tensors = golden(name)
    levels = np.arange(256, dtype=np.uint8).reshape(1, 1, 256, 1).repeat(3, axis=-1)
    ours = video.to_network(levels, dtype=torch.bfloat16)[0, 0, 0, 0]
    assert torch.equal(ours, tensors["out/normalise_table"])


@pytest.mark.parametrize(
    "name, rounding", [("predict2_preprocess", "half up"), ("predict2_5_preprocess", "truncate")]
)
def test_saved_levels_are_official(name, rounding):
    tensors = golden(name)
    for case in ("video", "video_bf16_values", "image"):
        ours = video.to_uint8(tensors[f"in/decoded/{case}"][0], rounding=rounding)
        assert np.array_equal(ours[0] if case == "image" else ours, tensors[f"out/uint8/{case}"].numpy())


def test_predict2_5_never_guesses_the_range_and_its_guardrail_keeps_the_levels():
    tensors = golden("predict2_5_preprocess")
    for case in ("video", "video_bf16_values", "video_min_above_-0.5", "image"):
        ours = video.to_uint8(tensors[f"in/decoded/{case}"][0], rounding="truncate")
        ours = ours[0] if case == "image" else ours
        assert np.array_equal(ours, tensors[f"out/uint8/{case}_through_guardrail"].numpy())
        assert np.array_equal(ours, tensors[f"out/uint8/{case}"].numpy())


def test_predict2s_saver_guesses_the_range():
    """A clip without a value below -0.5 is taken to lie in [0, 1]: offered by name, and not what is done by itself."""
    tensors = golden("predict2_preprocess")
    for case in ("video", "video_bf16_values", "video_min_above_-0.5"):
        ours = video.to_uint8(tensors[f"in/decoded/{case}"][0], decoded="guessed")
        assert np.array_equal(ours, tensors[f"out/uint8/{case}"].numpy())
    bright = tensors["in/decoded/video_min_above_-0.5"][0]
    assert (video.to_uint8(bright).astype(int) - video.to_uint8(bright, decoded="guessed")).max() > 60
    edge = torch.full((3, 1, 2, 2), -0.5)
    assert video.to_uint8(edge, decoded="guessed").max() == 0 and video.to_uint8(edge).min() == 64
    with pytest.raises(ValueError, match="'signed' or 'guessed', not 'unit'"):
        video.to_uint8(edge, decoded="unit")


def test_levels_that_are_bytes_already_stay():
    tensors = golden("predict2_preprocess")
    for decoded in ("signed", "guessed"):
        ours = video.to_uint8(tensors["in/decoded/video_uint8"][0], decoded=decoded)
        assert np.array_equal(ours, tensors["out/uint8/video_uint8"].numpy())


def test_bfloat16_pixels_become_8_bits_in_bfloat16():
    """Predict1 decodes a bfloat16 sample and computes its levels in that dtype, which moves some by one."""
    pixels = torch.linspace(-1.2, 1.2, 999).bfloat16().expand(3, 1, 1, 999)
    official = (((1.0 + pixels).clamp(0, 2) / 2) * 255).to(torch.uint8)[0, 0, 0]
    ours = video.to_uint8(pixels, rounding="truncate")[0, 0, :, 0]
    assert np.array_equal(ours, official.numpy())
    assert not np.array_equal(ours, video.to_uint8(pixels.float(), rounding="truncate")[0, 0, :, 0])


def test_a_dark_clip_stays_dark():
    # Predict2's saver takes a clip without values below -0.5 for one in [0, 1]; here nothing is guessed unasked.
    assert video.to_uint8(torch.full((3, 1, 2, 2), -0.4)).max() == 77


def test_center_crop_rounds_half_to_even():
    assert video.cover(41, 50, 56, 40) == (57, 69)
    wide = np.zeros((1, 4, 9, 3), dtype=np.uint8)
    wide[0, :, 2:6] = 255  # surplus 5: the window begins at 2, where half up would begin at 3
    assert video.fit(wide, 4, 4).min() == 255


@pytest.mark.parametrize(
    "count, size, fps", [(1, (48, 64), 16), (9, (48, 64), 16), (33, (32, 48), 12.5), (5, (31, 45), 24)]
)
def test_written_clip_has_exact_count_size_and_rate(tmp_path, count, size, fps):
    pixels = moving_square(count, *size)
    video.write_video(tmp_path / "clip.mp4", pixels, fps=fps)
    clip = video.read(tmp_path / "clip.mp4")
    assert clip.pixels.shape == pixels.shape and clip.fps == pytest.approx(fps) and clip.num_in_file == count
    # Lossy, and colors at half resolution for even sizes: close on the average.
    assert np.abs(clip.pixels.astype(int) - pixels).mean() < 4


def test_same_pixels_make_the_same_bytes(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (9, 48, 64, 3), dtype=np.uint8)
    files = [tmp_path / f"{i}.mp4" for i in range(3)]
    for path in files:
        video.write_video(path, pixels, fps=16)
    assert len({path.read_bytes() for path in files}) == 1
    assert video.video_bytes(pixels, fps=16)[:4] == files[0].read_bytes()[:4]


def test_only_the_last_or_first_pixel_frames_are_kept(tmp_path):
    video.write_video(tmp_path / "clip.mp4", moving_square(20), fps=16)
    everything = video.read(tmp_path / "clip.mp4").pixels
    last = video.read(tmp_path / "clip.mp4", last=5)
    assert np.array_equal(last.pixels, everything[-5:]) and last.num_in_file == 20
    assert np.array_equal(video.read(tmp_path / "clip.mp4", first=3).pixels, everything[:3])


def test_an_interrupted_write_leaves_nothing(tmp_path):
    class Broken(Exception):
        pass

    with pytest.raises(Broken), video.whole(tmp_path / "clip.mp4") as beside:
        beside.write_bytes(b"half a clip")
        raise Broken
    assert list(tmp_path.iterdir()) == []


def test_image_kinds(tmp_path):
    red = Image.new("RGB", (20, 12), (200, 10, 10))
    clear = Image.new("RGBA", (20, 12), (200, 10, 10, 0))
    kinds = {
        "a.jpg": (red, {"quality": 95}),
        "cmyk.jpg": (red.convert("CMYK"), {"quality": 95}),
        "palette.png": (red.convert("P"), {}),
        "still.gif": (red.convert("P"), {}),
        "a.webp": (red, {"lossless": True}),
        "UPPER.PNG": (red, {}),
    }
    for name, (image, options) in kinds.items():
        image.save(tmp_path / name, **options)
        clip = video.read(tmp_path / name)
        assert clip.is_image and clip.pixels.shape == (1, 12, 20, 3), name
        assert np.abs(clip.pixels[0, 6, 10].astype(int) - (200, 10, 10)).max() < 12, name
    clear.save(tmp_path / "clear.png")
    assert video.read(tmp_path / "clear.png").pixels.min() == 255
    assert tuple(video.read(tmp_path / "clear.png", alpha="drop").pixels[0, 0, 0]) == (200, 10, 10)
    Image.fromarray(np.full((12, 20), 0x8080, dtype=np.uint16)).save(tmp_path / "deep.png")
    assert np.all(video.read(tmp_path / "deep.png").pixels == 128)


def test_exif_turns_the_picture(tmp_path):
    image = Image.new("RGB", (20, 12), (0, 0, 0))
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise: the top left corner becomes the top right
    image.save(tmp_path / "turned.png", exif=exif)
    pixels = video.read(tmp_path / "turned.png").pixels
    assert pixels.shape == (1, 20, 12, 3) and pixels[0, 0, 11, 0] == 255


def test_a_moving_gif_is_a_clip(tmp_path):
    frames = [Image.new("RGB", (16, 16), (80 * i, 0, 0)) for i in range(3)]
    frames[0].save(tmp_path / "move.gif", save_all=True, append_images=frames[1:], duration=50)
    clip = video.read(tmp_path / "move.gif", last=2)
    assert not clip.is_image and clip.fps == pytest.approx(20) and clip.num_in_file == 3 and len(clip.pixels) == 2


def test_extreme_images(tmp_path):
    Image.new("RGB", (1, 1), (9, 8, 7)).save(tmp_path / "dot.png")
    assert np.all(video.fit(video.read(tmp_path / "dot.png").pixels, 112, 192, resize="round") == (9, 8, 7))
    Image.new("RGB", (20000, 300), (9, 8, 7)).save(tmp_path / "long.png")
    long = video.read(tmp_path / "long.png").pixels
    assert max(long.shape) <= video.LARGEST_SIDE and video.fit(long, 112, 192).shape == (1, 112, 192, 3)
    Image.new("L", (20000, 1)).save(tmp_path / "line.png")
    with pytest.raises(video.MediaError, match="too long for 192x112"):
        video.fit(video.read(tmp_path / "line.png").pixels, 112, 192)


def test_damaged_files_are_named(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (33, 48, 64, 3), dtype=np.uint8)
    video.write_video(tmp_path / "clip.mp4", pixels, fps=16)
    whole = (tmp_path / "clip.mp4").read_bytes()
    for part in (0, 100, len(whole) // 2, len(whole) - 300):
        (tmp_path / "cut.mp4").write_bytes(whole[:part])
        with pytest.raises(video.MediaError, match="cut.mp4 is damaged or cut off"):
            video.read(tmp_path / "cut.mp4")
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with pytest.raises(video.MediaError, match="cut.png is damaged"):
        video.read(tmp_path / "cut.png")
    with pytest.raises(FileNotFoundError, match="nothing.mp4"):
        video.read(tmp_path / "nothing.mp4")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(video.MediaError, match="unknown kind '.txt'"):
        video.read(tmp_path / "notes.txt")


def test_a_gif_is_damaged_wherever_a_picture_is_cut(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), dtype=np.uint8)
    frames = [Image.fromarray(picture) for picture in pixels]
    frames[0].save(tmp_path / "move.gif", save_all=True, append_images=frames[1:])
    whole = (tmp_path / "move.gif").read_bytes()
    # Not between two of its three pictures: a file that ends there is only a shorter one.
    for part in (part for part in range(0, len(whole), 7) if 0.1 < 3 * part / len(whole) % 1 < 0.9):
        (tmp_path / "cut.gif").write_bytes(whole[:part])
        with pytest.raises(video.MediaError, match="cut.gif is damaged"):
            video.read(tmp_path / "cut.gif")


def write_matroska(path, *, codec="libvpx", count=24, pts=None, sound=0, **options):
    """A container without a count of its pixel frames; `pts` in milliseconds, `sound` in seconds."""
    import av

    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=16)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        tone = container.add_stream("libopus", rate=48000, layout="mono") if sound else None
        for number, picture in enumerate(np.random.default_rng(0).integers(0, 255, (count, 48, 64, 3), dtype=np.uint8)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if pts is not None:
                frame.pts, frame.time_base = pts[number], Fraction(1, 1000)
                stream.codec_context.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        for number in range(sound * 50):
            quiet = av.AudioFrame.from_ndarray(np.zeros((1, 960), dtype=np.int16), format="s16", layout="mono")
            quiet.rate, quiet.pts = 48000, 960 * number
            container.mux(tone.encode(quiet))
        if sound:
            container.mux(tone.encode())
    return path


@pytest.mark.parametrize("name, codec, sound", [("a.webm", "libvpx", 0), ("b.webm", "libvpx-vp9", 0),
                                                ("c.mkv", "libx264", 0), ("d.webm", "libvpx", 3)])  # fmt: skip
def test_a_clip_without_a_count_is_known_to_be_cut_off(tmp_path, name, codec, sound):
    """Else the last pixel frames that are left would be taken for the clip's last ones."""
    path = write_matroska(tmp_path / name, codec=codec, sound=sound)
    whole = path.read_bytes()
    assert video.read(path, last=5).num_in_file == 24
    for part in (0.5, 0.7, 0.85):
        path.write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(video.MediaError, match=f"{name} is damaged or cut off"):
            video.read(path, last=5)


@pytest.mark.parametrize(
    "options",
    [{"count": 1}, {"sound": 3}, {"live": "1"}, {"pts": [0, 40, 80, 900, 910, 5000], "count": 6},
     {"pts": [4000 + 62 * n for n in range(9)], "count": 9}, {"codec": "libx264", "name": "a.mkv"}],
)  # fmt: skip
def test_a_whole_clip_without_a_count_is_read(tmp_path, options):
    """Of one pixel frame, with longer sound, without a stated length, of variable rate, and not beginning at 0."""
    path = write_matroska(tmp_path / options.pop("name", "a.webm"), **options)
    assert video.read(path).num_in_file == options.get("count", 24)


@pytest.mark.parametrize("name", ["a.png", "a.mp4"])
def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch, name):
    (tmp_path / name).write_bytes(b"anything")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(PermissionError, match=f"{name} may not be read; allow it with chmod"):
        video.read(tmp_path / name)


def test_unwritable_places_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="a part of that path is a file"):
        video.write_video(tmp_path / "file" / "clip.mp4", moving_square(1), fps=16)
    with pytest.raises(IsADirectoryError, match="is a folder"):
        video.write_video(tmp_path, moving_square(1), fps=16)


def test_contact_sheet_holds_first_and_last():
    pixels = np.zeros((33, 10, 16, 3), dtype=np.uint8)
    pixels[0], pixels[-1] = 50, 200
    sheet = video.contact_sheet(pixels, columns=4, rows=2)
    assert sheet.shape == (2 * 10 + 2, 4 * 16 + 3 * 2, 3)
    assert sheet[0, 0, 0] == 50 and sheet[-1, -1, 0] == 200
    assert video.contact_sheet(pixels[:1]).shape == (10, 16, 3)
