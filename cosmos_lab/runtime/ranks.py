"""One process per GPU, all holding the same weights: the few collectives that data-parallel work needs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process's place among `size` equal processes, and the device it computes on."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, items: Sequence) -> Sequence:
        """This rank's part of some items: every `size`-th one from its own number on."""
        return items[self.rank :: self.size]

    def gather(self, made: list) -> list:
        """What all ranks made of their shares, one thing an item, in the order of the items, on every rank."""
        if self.size == 1:
            return made
        shares: list[list] = [[] for _ in range(self.size)]
        dist.all_gather_object(shares, made)
        return [shares[item % self.size][item // self.size] for item in range(sum(map(len, shares)))]

    @torch.no_grad()
    def average_gradients(self, parameters: list[torch.nn.Parameter]) -> None:
        """Replaces each gradient by its mean over all ranks, in one all-reduce of a flat buffer."""
        if self.size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.size
        parts = flat.split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [part.view_as(gradient) for part, gradient in zip(parts, gradients)])

    @torch.no_grad()
    def broadcast(self, tensors: list[Tensor]) -> None:
        """Makes every rank hold rank 0's values."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def agree(self, value: float) -> float:
        """The largest value any rank has, so that all ranks take the same decision."""
        if self.size == 1:
            return value
        box = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(box, op=dist.ReduceOp.MAX)
        return box.item()

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier()


def join(device: str = "auto") -> Ranks:
    """Joins the process group that `torchrun` announces in the environment; without one, a single rank.

    `device="auto"` takes this rank's GPU where there is one, else the CPU.
    """
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if device == "auto":
        local = int(os.environ.get("LOCAL_RANK", 0))
        device = f"cuda:{local}" if torch.cuda.is_available() else "cpu"
    place = torch.device(device)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if size > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=timedelta(minutes=20))
    return Ranks(rank=rank, size=size, device=place)
