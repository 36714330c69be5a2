"""What stands where: the targets of a token, and a transformer that is taught to say them."""

import pytest
import torch
from torch import nn

from cosmos_lab.evaluation.labels import BACKGROUND, COLOR_NAMES
from cosmos_lab.nn.dit import DiT, DiTConfig
from cosmos_lab.runtime.ranks import Ranks
from cosmos_lab.train.clips import ClipSource, render_pool
from cosmos_lab.train.states import LEAST_SHARE, SIZES, StateHead, object_bank, state_bank
from cosmos_lab.train.world_model import LatentBank, WorldRecipe, world_loss


@pytest.fixture(scope="module")
def pool():
    return render_pool(ClipSource(count=2, first_seed=7, workers=1), Ranks(), progress=False)


def test_a_token_holds_the_shares_of_its_pixels(pool):
    shares = state_bank(pool, batch=1).float()
    assert shares.shape == (2, 9, sum(SIZES), 7, 12)
    colors, shapes = shares.split(SIZES, dim=2)
    assert torch.allclose(colors.sum(dim=2), torch.ones(2, 9, 7, 12), atol=2e-3) and shapes.sum(dim=2).max() <= 1.002
    clip, latent_frame, row, column = 1, 3, 4, 5
    patch = pool.body_index[clip, 4 * latent_frame, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
    behind = (patch < 0).float().mean().item()
    assert colors[clip, latent_frame, BACKGROUND, row, column] == pytest.approx(behind, abs=1e-3)
    red = [i for i, body in enumerate(pool.rollouts[clip].scene.bodies) if body.role == "object"]
    color = COLOR_NAMES.index(pool.rollouts[clip].scene.bodies[red[0]].color)
    same = [i for i in red if pool.rollouts[clip].scene.bodies[i].color == COLOR_NAMES[color]]
    whole = torch.isin(pool.body_index[clip, ::4], torch.tensor(same, dtype=torch.int8)).float().mean()
    assert colors[clip, :, color].mean().item() == pytest.approx(whole.item(), abs=1e-4) and whole > 0


def test_a_token_is_an_objects_if_one_touches_it_in_any_of_its_pixel_frames(pool):
    touched = object_bank(pool)
    assert len({len(rollout.scene.bodies) for rollout in pool.rollouts}) == 2
    assert touched.shape == (2, 9, 7, 12) and 0.02 < touched.float().mean() < 0.6
    for clip, rollout in enumerate(pool.rollouts):
        objects = [i for i, body in enumerate(rollout.scene.bodies) if body.role == "object"]
        there = torch.isin(pool.body_index[clip], torch.tensor(objects, dtype=torch.int8)).float()
        share = there.view(33, 7, 16, 12, 16).mean(dim=(2, 4))
        for latent_frame in range(9):
            frames = slice(max(0, 4 * latent_frame - 3), 4 * latent_frame + 1)
            assert torch.equal(touched[clip, latent_frame], (share[frames] > LEAST_SHARE).any(dim=0))


class Words(nn.Module):
    def forward(self, ids, mask):
        return torch.zeros(*ids.shape, 8)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_flow_learns_to_say_it(generator, compiled):
    """Clean latents that hold the answer: the head's error must fall, and the error must reach the blocks before it."""
    config = DiTConfig(width=24, num_blocks=2, num_heads=2, text_width=8, adaln_rank=4, condition_mask=True,
                       padding_mask=True, max_grid=(16, 16, 16))
    dit, recipe = DiT(config), WorldRecipe(batch=4, state_weight=0.5, state_block=0, sigma_mean=-4.0, high_noise=0.0)
    kinds = torch.randint(3, (4, 3, 2, 3), generator=generator)
    shares = torch.zeros(4, 3, sum(SIZES), 2, 3).scatter(2, kinds.unsqueeze(2), 1.0)
    latents = torch.repeat_interleave(torch.repeat_interleave(kinds.float() - 1, 2, dim=2), 2, dim=3)
    bank = LatentBank(latents=latents.unsqueeze(1).expand(-1, 16, -1, -1, -1).half(),
                      tokens=torch.ones(4, 1, 3).short(), states=shares.half())
    modules = nn.ModuleDict({"dit": dit, "text": Words(), "states": StateHead(24, dit.blocks[0])})
    if compiled:
        for block in dit.blocks:
            block.compile(dynamic=False, backend="aot_eager")
    loss, optimizer = world_loss(modules, bank, recipe), torch.optim.Adam(modules.parameters(), lr=3e-3)
    errors = []
    for step in range(1, 60):
        total, figures = loss(step, generator)
        assert total.item() == pytest.approx((figures["flow"] + 0.5 * figures["state"]).item(), rel=1e-5)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        errors.append(figures["state"].item())
    assert dit.blocks[0].mlp.layer1.weight.grad.abs().sum() > 0 and dit.blocks[1].mlp.layer1.weight.grad is not None
    assert sum(errors[-5:]) < 0.3 * sum(errors[:5])


def test_weights_of_the_network_are_those_without_it():
    dit = DiT(DiTConfig(width=24, num_blocks=2, num_heads=2, text_width=8, adaln_rank=4, max_grid=(16, 16, 16)))
    before = set(dit.state_dict())
    StateHead(24, dit.blocks[1])
    assert set(dit.state_dict()) == before
