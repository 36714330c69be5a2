"""The ray tracer against brute force, against the projection, and against what light must do."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from cosmos_lab.worlds import rays
from cosmos_lab.worlds.pack import pack
from cosmos_lab.worlds.render import project, render, render_values
from cosmos_lab.worlds.scene import COLORS, FLOORS, LIGHTS, Body, Rollout, Scene
from cosmos_lab.worlds.stage import floor_albedo, sun_direction, texture

SIZE = {"height": 56, "width": 96}

SOLIDS = {
    "sphere": (0.4, 0.0, 0.0),
    "capsule": (0.25, 0.5, 0.0),
    "cylinder": (0.35, 0.3, 0.0),
    "box": (0.3, 0.45, 0.2),
}


def rollout(
    bodies, positions, *, quaternions=None, floor="concrete", light="noon", seed=0, eye=(0, -4, 1.2), target=(0, 0, 0.4)
):
    """A hand-made clip: positions (T, N, 3), identity rotations unless given."""
    positions = np.asarray(positions, dtype=np.float64)
    frames, number, _ = positions.shape
    if quaternions is None:
        quaternions = np.tile([1.0, 0.0, 0.0, 0.0], (frames, number, 1))
    scene = Scene(
        seed=seed, family="fall", motion="rest", bodies=tuple(bodies), floor=floor, light=light, camera="static"
    )
    view = {"eye": np.tile(np.array(eye), (frames, 1)), "target": np.tile(np.array(target), (frames, 1))}
    return Rollout(scene=scene, position=positions, quaternion=np.asarray(quaternions), **view)


def ball(color="red", radius=0.3, name="ball", **look):
    return Body(name=name, shape="sphere", size=(radius, 0.0, 0.0), color=color, **look)


def random_rays(count=400, seed=0):
    """Rays that start on a sphere of radius 2 and pass near the origin, as float32 vectors."""
    rng = np.random.default_rng(seed)
    origin = rng.normal(size=(count, 3))
    origin = 2 * origin / np.linalg.norm(origin, axis=1, keepdims=True)
    direction = rng.uniform(-0.6, 0.6, (count, 3)) - origin
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return tuple(tuple(torch.from_numpy(array.astype(np.float32)).unbind(-1)) for array in (origin, direction))


def constants(shape):
    return tuple(torch.tensor(part) for part in SOLIDS[shape]), torch.tensor(float(rays.KIND[shape]))


@pytest.mark.parametrize("shape", SOLIDS)
def test_entry_agrees_with_sphere_tracing_of_the_signed_distance(shape):
    size, kind = constants(shape)
    origin, direction = random_rays()
    found = rays.entry(origin, direction, size, kind)
    t = torch.zeros_like(found)
    for _ in range(400):
        t = t + rays.signed_distance(rays.advance(origin, direction, t), size, kind).clamp_min(1e-6)
    left = rays.signed_distance(rays.advance(origin, direction, t), size, kind)
    hit = (t < 4) & (left < 1e-4)
    clear = t > 4
    assert 50 < hit.sum() < 399
    # Marching creeps along grazing rays: distances agree to a millimetre of a half-metre body.
    assert torch.allclose(found[hit], t[hit], atol=2e-3)
    assert torch.isinf(found[clear]).all()


@pytest.mark.parametrize("shape", SOLIDS)
def test_normals_are_the_gradient_of_the_signed_distance(shape):
    size, kind = constants(shape)
    origin, direction = random_rays(seed=1)
    found = rays.entry(origin, direction, size, kind)
    point = rays.advance(origin, direction, found.nan_to_num(posinf=0.0))
    outside = tuple(p.double().requires_grad_() for p in rays.advance(point, rays.normal(point, size, kind), 1e-3))
    rays.signed_distance(outside, tuple(s.double() for s in size), kind).sum().backward()
    normal = torch.stack(rays.normal(point, size, kind))
    gradient = torch.stack([p.grad for p in outside]).float()
    hit = torch.isfinite(found)
    assert (normal.norm(dim=0)[hit] - 1).abs().max() < 1e-5
    # A hit within a millimetre of an edge may take either side.
    assert ((normal * gradient).sum(0)[hit] > 0.999).float().mean() > 0.985
    assert ((normal * torch.stack(direction)).sum(0)[hit] < 1e-3).all()


def test_signed_distance_of_a_box_and_a_cylinder_by_hand():
    point = tuple(torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 1.5], [0.1, 0.0, 0.0]]).unbind(-1))
    box = rays.signed_distance(point, (torch.tensor(0.5),) * 3, torch.tensor(float(rays.BOX)))
    assert torch.allclose(box, torch.tensor([math.hypot(0.5, 1.5), 1.0, -0.4]), atol=1e-6)
    size = torch.tensor(0.5), torch.tensor(1.0), torch.tensor(0.0)
    cylinder = rays.signed_distance(point, size, torch.tensor(float(rays.CYLINDER)))
    assert torch.allclose(cylinder, torch.tensor([math.sqrt(5) - 0.5, 0.5, -0.4]), atol=1e-6)


def test_a_rotated_box_is_hit_where_its_rotated_rays_say():
    angle = 0.7
    quaternion = [[[math.cos(angle / 2), 0.0, 0.0, math.sin(angle / 2)]]]
    slab = Body(name="slab", shape="box", size=(0.8, 0.1, 0.3), color="blue")
    clip = rollout([slab], [[[0.0, 0.0, 0.3]]], quaternions=quaternion)
    seen = render(clip, **SIZE).body_index[0, 0] == 0
    corner = np.array([[math.cos(angle) * s * 0.75, math.sin(angle) * s * 0.75, 0.5] for s in (-1, 1)])
    x, y, _ = project(clip, corner[None], **SIZE)
    assert seen[y[0].astype(int), x[0].astype(int)].all()
    x, y, _ = project(clip, (corner * [1, -1, 1])[None], **SIZE)
    assert not seen[y[0].astype(int), x[0].astype(int)].any()


def test_the_centroid_of_a_small_ball_is_its_projection():
    # A radius of 0.15 m at 4 m keeps the perspective shift of a sphere's outline below 0.1 pixel.
    positions = [[[-0.9, 0.3, 1.1]], [[0.0, 0.0, 0.5]], [[1.0, -0.4, 0.3]]]
    clip = rollout([ball(radius=0.15)], positions)
    mask = (render(clip).body_index[0] == 0).double()
    x, y, depth = project(clip, clip.position)
    columns, rows = torch.arange(192) + 0.5, torch.arange(112) + 0.5
    area = mask.sum((1, 2))
    assert np.abs((mask.sum(1) @ columns.double() / area).numpy() - x[:, 0]).max() < 0.3
    assert np.abs((mask.sum(2) @ rows.double() / area).numpy() - y[:, 0]).max() < 0.3
    focal = 56 / math.tan(math.radians(19))
    assert np.allclose(area.numpy(), math.pi * (0.15 * focal / depth[:, 0]) ** 2, rtol=0.06)


def test_body_index_marks_each_body_in_its_own_color():
    colors = ("red", "green", "blue", "yellow")
    bodies = [ball(color, 0.25, name=color) for color in colors]
    clip = rollout(bodies, [[[-1.05 + 0.7 * i, 0.0, 0.25] for i in range(4)]], light="soft")
    out = render(clip, **SIZE)
    pixels, index = out.pixels[0, 0].double() / 255, out.body_index[0, 0]
    palette = torch.tensor([COLORS[color] for color in colors]).double()
    for i in range(4):
        mean = pixels[index == i].mean(0)
        guess = torch.nn.functional.cosine_similarity(palette, (mean**2.2)[None]).argmax()
        assert guess == i
    assert (index[0] == -1).all()


def test_a_nearer_body_hides_a_farther_one():
    clip = rollout([ball("red", name="far"), ball("blue", 0.4, name="near")], [[[0.0, 1.0, 0.4], [0.0, -1.0, 0.6]]])
    assert set(render(clip, **SIZE).body_index.unique().tolist()) == {-1, 1}


def test_a_ball_shadows_the_floor_where_the_sun_says():
    center = np.array([0.0, 0.0, 0.8])
    clip = rollout([ball(radius=0.2)], [[center]], light="noon", eye=(0.0, -3.0, 3.0))
    empty = rollout([ball(radius=0.2)], [[[0.0, 0.0, -50.0]]], light="noon", eye=(0.0, -3.0, 3.0))
    sun = sun_direction("noon", 0)
    spots = np.stack([center - sun * center[2] / sun[2], (center - sun * center[2] / sun[2]) * [-1, 1, 1]])
    x, y, _ = project(clip, spots[None], **SIZE)
    at = (0, 0, y[0].astype(int), x[0].astype(int))
    with_ball, without = (render_values(c, **SIZE)[at].mean(-1) for c in (clip, empty))
    assert with_ball[0] < 0.8 * without[0]
    assert with_ball[1] > 0.98 * without[1]


def test_soft_light_has_a_wider_penumbra_than_noon():
    def edge_levels(light):
        clip = rollout([ball(radius=0.3)], [[[0.0, 0.0, 1.0]]], light=light, eye=(0.0, -3.0, 4.0))
        bare = rollout([ball(radius=0.3)], [[[0.0, 0.0, -50.0]]], light=light, eye=(0.0, -3.0, 4.0))
        # Two pixels around the ball are left out: its anti-aliased outline is no shadow.
        near_ball = torch.nn.functional.max_pool2d((render(clip).body_index[0] >= 0).float(), 5, stride=1, padding=2)
        ratio = (render_values(clip) / render_values(bare)).mean(-1)[0][near_ball == 0]
        darkness = (1 - ratio) / (1 - ratio.min())
        return ((darkness > 0.2) & (darkness < 0.8)).sum() / (darkness > 0.2).sum()

    assert edge_levels("soft") > 2 * edge_levels("noon")


def test_the_floor_darkens_towards_a_contact():
    clip = rollout([Body(name="cube", shape="box", size=(0.3,) * 3, color="red")], [[[0.0, 0.0, 0.3]]], light="soft")
    spots = np.array([[0.0, -0.34, 0.0], [0.0, -0.45, 0.0], [0.0, -0.9, 0.0]])
    x, y, _ = project(clip, spots[None])
    levels = render_values(clip)[0, 0, y[0].astype(int), x[0].astype(int)].mean(-1)
    assert levels[0] < levels[1] < levels[2]


def test_checker_mirrors_a_body_and_sand_does_not():
    def redness_below(floor):
        clip = rollout([ball("red", 0.25)], [[[0.0, 0.0, 0.45]]], floor=floor, seed=3)
        bare = rollout([ball("red", 0.25)], [[[0.0, 0.0, -50.0]]], floor=floor, seed=3)
        x, y, _ = project(clip, np.array([[[0.0, 0.0, -0.45]]]))
        at = (0, 0, int(y[0, 0]), int(x[0, 0]))
        change = render_values(clip)[at] - render_values(bare)[at]
        return (change[0] - change[2]).item()

    assert redness_below("checker") > 0.03
    assert abs(redness_below("sand")) < 0.01


def test_spin_of_a_marked_ball_shows_about_every_axis():
    for axis in range(3):
        quaternions = np.zeros((2, 1, 4))
        quaternions[:, 0, 0] = math.cos(0.0), math.cos(0.4)
        quaternions[1, 0, 1 + axis] = math.sin(0.4)
        for marked, visible in ((True, True), (False, False)):
            clip = rollout([ball(marked=marked)], [[[0.0, 0.0, 0.3]]] * 2, quaternions=quaternions, light="soft")
            first, second = render_values(clip, **SIZE)[0]
            # An unmarked sphere looks the same however it is turned, up to float32 in the rotated rays.
            assert ((first - second).abs().max() > 0.1) == visible


@pytest.mark.parametrize("floor", FLOORS)
def test_floors_are_smooth_and_their_far_detail_fades(floor):
    parts = tuple(torch.from_numpy(texture(7)).float().unbind(0))
    x, y = torch.meshgrid(torch.linspace(0, 4, 160), torch.linspace(0, 4, 160), indexing="ij")

    def contrast(width):
        wide = (torch.full_like(x, width),) * 2
        return torch.stack(floor_albedo(floor, x, y, wide, parts)).std(dim=(1, 2)).max()

    assert contrast(0.01) > 0.004
    assert contrast(6.0) < 0.35 * contrast(0.01)


def test_neighboring_pixels_of_a_plain_floor_hold_no_grain():
    for floor in ("concrete", "grass", "sand"):
        clip = rollout([ball()], [[[0.0, 0.0, -50.0]]], floor=floor, light="soft")
        values = render_values(clip)[0, 0, 60:]
        grain = values[:, 2:] - 2 * values[:, 1:-1] + values[:, :-2]
        assert grain.abs().mean() < 0.006


@pytest.mark.parametrize("light", LIGHTS)
def test_pixels_depend_on_neither_chunk_nor_company_nor_run(light):
    first = rollout([ball("red")], [[[0.1 * k, 0.0, 0.5]] for k in range(3)], light=light, floor="wood", seed=4)
    crowd = [ball("pink", 0.1, name=f"b{i}") for i in range(14)]
    grid = [[[-1.2 + 0.4 * (i % 7), 0.5 * (i // 7), 0.1] for i in range(14)]] * 3
    second = rollout(crowd, grid, light="soft", floor="checker", seed=5)
    alone, again = (render(first, **SIZE, chunk=size) for size in (1, 2))
    both = render([second, first], **SIZE, chunk=4)
    assert torch.equal(alone.pixels, again.pixels)
    assert torch.equal(alone.pixels[0], both.pixels[1])
    assert torch.equal(alone.body_index[0], both.body_index[1])
    assert set(both.body_index[0].unique().tolist()) == set(range(-1, 14))


def test_values_round_to_pixels_and_reach_poses_with_gradients():
    clip = rollout([ball()], [[[0.0, 0.0, 0.5]]], light="soft")
    packed = pack([clip])
    free = replace(packed, position=packed.position.clone().requires_grad_())
    values = render_values(free, **SIZE)
    assert torch.equal((255 * values.detach()).round().to(torch.uint8), render(clip, **SIZE).pixels)
    values.sum().backward()
    assert torch.isfinite(free.position.grad).all() and free.position.grad.abs().sum() > 0


@pytest.mark.parametrize("light", LIGHTS)
def test_leaving_out_what_lies_outside_a_body_s_window_changes_no_bit(light):
    bodies = [ball("red", 0.2, marked=True), Body(name="rod", shape="capsule", size=(0.05, 0.6, 0.0), color="blue")]
    bodies += [Body(name="wall", shape="box", size=(0.9, 0.05, 0.3), color="steel", role="prop"), ball("cyan", 0.3)]
    turned = [[[1, 0, 0, 0], [0.8, 0.5, 0.1, 0.3], [0.9, 0, 0, 0.4], [1, 0, 0, 0]]]
    # The last ball stands beside the camera, half behind it.
    places = [[[0.3, -0.6, 1.2], [-0.7, 0.2, 0.7], [0.2, 0.8, 0.35], [0.4, -3.9, 0.9]]]
    clip = rollout(bodies, places, quaternions=turned, floor="checker", light=light)
    packed = pack([clip])
    # Poses that want gradients are traced without windows.
    whole = replace(packed, position=packed.position.clone().requires_grad_())
    assert torch.equal(render_values(packed), render_values(whole).detach())


def test_compiled_steps_trace_without_a_graph_break_and_agree():
    # The backend "eager" captures the graphs without generating code, so this holds tracing alone to account.
    clip = rollout([ball(marked=True)], [[[0.0, 0.0, 0.3]]] * 3, floor="checker")
    torch._dynamo.utils.counters.clear()
    plain, captured = (render_values(clip, height=14, width=24, chunk=2, compile=mode) for mode in (False, "eager"))
    assert not torch._dynamo.utils.counters["graph_break"]
    # Formulas of absent shapes are evaluated too, but only selected away.
    assert (plain - captured).abs().max() < 1e-5


def test_bad_input_is_named():
    short, long = (rollout([ball()], [[[0.0, 0.0, 0.3]]] * frames) for frames in (1, 2))
    with pytest.raises(ValueError, match=r"\[1, 2\]"):
        pack([short, long])
    for wrong in ({"samples": 0}, {"chunk": 0}, {"height": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            render(short, **wrong)
