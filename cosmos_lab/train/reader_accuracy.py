"""How well a reader in training reads clips of which it is known what they show."""

import torch
from einops import rearrange, reduce
from torch import Tensor

from cosmos_lab.evaluation.colors import proven_colors
from cosmos_lab.evaluation.labels import PROP, VIEW_SCALES, dense_targets
from cosmos_lab.evaluation.reader import Reader
from cosmos_lab.train.reader_pool import ReaderPool
from cosmos_lab.train.tokenizer import as_video


@torch.no_grad()
def reader_accuracy(reader: Reader, pool: ReaderPool, batch: int = 16) -> dict[str, float]:
    """Shares right on a pool of renders, reconstructions and what was drawn again: each clip-level head, the color and
    shape of cells that one object covers, and clips in which objects are found in the colors (`colors`) in which there
    are some, no more and no fewer.

    `centroid` is the mean distance in pixels between the centroids of read and true masks, over colors and pixel
    frames; `pitch_degrees` the mean error of the camera's pitch.
    """
    reader.eval()
    right: dict[str, list[Tensor]] = {}
    for rows in torch.arange(len(pool), device=pool.rendered.device).split(batch):
        renders = pool.render[rows]
        labels = pool.labels.select(renders)
        output = reader(as_video(pool.pixels(rows)))
        colors, shapes = dense_targets(pool.body_index[renders], labels)
        for name, logits in output.clip.items():
            right.setdefault(name, []).append((logits.argmax(dim=1) == labels.clip[name]).float())
        full = colors[:, :, :PROP].amax(dim=2) == 1
        right.setdefault("color_cells", []).append((output.colors.argmax(dim=2) == colors.argmax(dim=2))[full].float())
        right.setdefault("shape_cells", []).append((output.shapes.argmax(dim=2) == shapes.argmax(dim=2))[full].float())
        pitch = VIEW_SCALES["pitch"][1] * (output.view.float() - labels.view)[:, 0].abs()
        right.setdefault("pitch_degrees", []).append(pitch)
        read = output.colors.softmax(dim=2)
        right.setdefault("centroid", []).append(centroid_error(read, colors))
        right.setdefault("colors", []).append((proven_colors(read) == proven_colors(colors)).all(dim=1).float())
    return {name: torch.cat(values).mean().item() for name, values in right.items()}


def centroid_error(read: Tensor, true: Tensor, min_cells: float = 10.0) -> Tensor:
    """Distances in pixels between mask centroids, one for each color visible in a pixel frame; both (B, K, C, h, w)."""

    def centroid(mass: Tensor) -> Tensor:
        rows = torch.arange(mass.shape[-2], device=mass.device, dtype=mass.dtype)
        columns = torch.arange(mass.shape[-1], device=mass.device, dtype=mass.dtype)
        y = reduce(mass * rearrange(rows, "h -> h 1"), "b k c h w -> b k c", "sum")
        x = reduce(mass * columns, "b k c h w -> b k c", "sum")
        return torch.stack([x, y], dim=-1) / reduce(mass, "b k c h w -> b k c 1", "sum").clamp(min=1e-6)

    objects_read, objects_true = read[:, :, :PROP], true[:, :, :PROP]
    visible = reduce(objects_true, "b k c h w -> b k c", "sum") > min_cells
    # Two pixels a cell.
    return 2 * (centroid(objects_read) - centroid(objects_true)).norm(dim=-1)[visible]
