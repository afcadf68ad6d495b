"""Which cells of the grid answer for which box."""

from __future__ import annotations

import torch
from torch import Tensor

RADIUS = 1.5  # cells on either side of a box's middle that answer for it, as far as they lie inside it
NONE, IGNORED = -1, -2  # a cell of the background, and one that is asked nothing


def centres(rows: int, columns: int, stride: int, device: torch.device | None = None) -> Tensor:
    """Return the middle of each cell, (rows x columns, 2) float32 x and y in edges' coordinates: 0 is the left edge."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return ((torch.stack([x, y], dim=-1).reshape(-1, 2) + 0.5) * stride).to(device, torch.float32)


def assign(cells: Tensor, boxes: Tensor, known: Tensor, stride: int) -> Tensor:
    """Return for each cell the number of its box, NONE where it is background, IGNORED where nothing is asked.

    cells: (N, 2) middles; boxes: (M, 4) x1 y1 x2 y2 in pixels of the input; known: (M,) bool, False for a box that
    only says that its inside is not background. A box is answered for by the cells round its middle (Tian et al. 2019,
    centre sampling), at least by the nearest one, so that none is lost. Where boxes compete, the smaller one wins. The
    rest of a box's inside is asked nothing: it is neither background nor the defect's middle.
    """
    answer = torch.full((len(cells),), NONE, dtype=torch.long, device=cells.device)
    if not len(boxes):
        return answer
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = ((cells[:, None] > boxes[None, :, :2]) & (cells[:, None] < boxes[None, :, 2:])).all(dim=2)
    away = (cells[:, None] - middles[None]).abs().amax(dim=2)  # (N, M)
    near = inside & (away <= RADIUS * stride)
    near[away.argmin(dim=0), torch.arange(len(boxes), device=cells.device)] = True
    answer[inside.any(dim=1)] = IGNORED
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for number in area.argsort(descending=True, stable=True).tolist():
        if known[number]:
            answer[near[:, number]] = number
    for number in torch.nonzero(~known).flatten().tolist():
        answer[inside[:, number] & (answer < 0)] = IGNORED
    return _none_lost(answer, away, known)


def _none_lost(answer: Tensor, away: Tensor, known: Tensor) -> Tensor:
    """Give a box whose cells a smaller one took the nearest cell that no box has."""
    for number in torch.nonzero(known).flatten().tolist():
        if not bool((answer == number).any()):
            free = torch.where(answer < 0, away[:, number], torch.inf)
            if bool(torch.isfinite(free.min())):
                answer[free.argmin()] = number
    return answer
