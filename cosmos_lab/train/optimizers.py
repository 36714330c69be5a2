"""The optimizers of every part of nano: Muon for matrices and kernels, AdamW for all else."""

import math
from collections import defaultdict

import torch
from torch import Tensor, nn

# The quintic of Jordan et al. 2024 (kellerjordan.github.io/posts/muon), which torch.optim.Muon uses too.
QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrices: Tensor, steps: int = 5) -> Tensor:
    """Moves all singular values of (N, A, B) matrices near 1 by Newton-Schulz iteration, in bfloat16."""
    a, b, c = QUINTIC
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalized: the update of torch.optim.Muon, but for kernels of any shape and many at a time.

    A kernel (out, in, ...) counts as a matrix (out, in ...). Parameters of one shape are orthogonalized together,
    which is what a GPU needs to be quick at it. The update has the root mean square of AdamW's (Liu et al. 2025,
    arXiv 2502.16982), so that both share a learning rate.
    """

    def __init__(self, params: object, *, lr: float, weight_decay: float = 0.01, momentum: float = 0.95):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Updates every parameter that has a gradient."""
        for group in self.param_groups:
            alike = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[parameter.shape].append(parameter)
            for parameters in alike.values():
                self._update(parameters, group)

    def _update(self, parameters: list[nn.Parameter], group: dict) -> None:
        gradients = [parameter.grad for parameter in parameters]
        for p in parameters:
            if not self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        momenta = [self.state[p]["momentum_buffer"] for p in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, momenta, group["momentum"])
        updates = orthogonalize(torch.stack([update.flatten(1) for update in ahead]))
        rate = 0.2 * group["lr"] * math.sqrt(max(updates.shape[1:]))
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        changes = [update.view_as(p) for update, p in zip(updates.to(parameters[0].dtype).unbind(), parameters)]
        torch._foreach_add_(parameters, changes, alpha=-rate)


def make_optimizers(modules: nn.Module, *, kind: str, lr: float, weight_decay: float,
                    betas: tuple[float, float]) -> list[torch.optim.Optimizer]:
    """The optimizers of all parameters: AdamW alone (`kind` "adamw"), or with Muon for matrices ("muon").

    Tables of embeddings are rows, not maps, and stay with AdamW; vectors are not decayed. A group's "pace" is its
    share of the learning rate: T5 does not divide its logits by sqrt(d_kv), so its queries learn that much more slowly.
    """
    slow = _queries(modules)
    tables = {id(part.weight) for part in modules.modules() if isinstance(part, nn.Embedding)}
    learned = [parameter for parameter in modules.parameters() if parameter.requires_grad]
    maps = [p for p in learned if p.ndim >= 2 and id(p) not in tables and kind == "muon"]
    taken = {id(parameter) for parameter in maps}
    others = [parameter for parameter in learned if id(parameter) not in taken]
    groups = [*_paced([p for p in others if p.ndim >= 2], slow, weight_decay=weight_decay),
              {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0}]
    fused = learned[0].device.type == "cuda"
    adam = torch.optim.AdamW(groups, lr=lr, betas=betas, eps=1e-8, fused=fused)
    return [adam, Muon(_paced(maps, slow), lr=lr, weight_decay=weight_decay)] if maps else [adam]


def _queries(modules: nn.Module) -> dict[int, float]:
    """The pace of each query weight of a T5, by the weight's id."""
    attentions = [part for part in modules.modules() if hasattr(part, "relative_attention_num_buckets")]
    return {id(part.q.weight): part.key_value_proj_dim**-0.5 for part in attentions}


def _paced(parameters: list[nn.Parameter], slow: dict[int, float], **settings: float) -> list[dict]:
    """Groups of one pace each; those of the full pace come first."""
    paces = {pace: [p for p in parameters if slow.get(id(p), 1.0) == pace] for pace in (1.0, *slow.values())}
    return [{"params": held, "pace": pace, **settings} for pace, held in paces.items() if held or pace == 1.0]
