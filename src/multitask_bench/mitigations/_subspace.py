"""What alignment changed in a module: the cosine of an update with it, and the projection onto it."""

from __future__ import annotations

import torch

from multitask_bench.mitigations._lora import Factors


def cosine(change: torch.Tensor, update: Factors) -> float | None:
    """cos(V V^T X, X) for V = ``change`` of shape (outputs, inputs) and X the update; None where either is 0."""
    b, a = update.b.to(change.device).float(), update.a.to(change.device).float()
    gram = (a @ a.T).double()
    once = change.T @ b
    twice = (change @ once).double()
    once, whole = once.double(), b.double()

    def squared(left: torch.Tensor) -> float:
        return float(((left @ gram) * left).sum().clamp(min=0))

    length = (squared(twice) * squared(whole)) ** 0.5
    return squared(once) / length if length else None


def basis(change: torch.Tensor, energy: float) -> torch.Tensor:
    """The fewest left singular vectors that hold ``energy`` of ||V||_F^2; shape (outputs, k), orthonormal columns.

    From the smaller of the two Gram matrices in float64: an SVD of a 4,096 x 4,096 matrix takes several times as long.
    """
    outputs, inputs = change.shape
    wide = change.double()
    values, vectors = torch.linalg.eigh(wide @ wide.T if outputs <= inputs else wide.T @ wide)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    reached = values.cumsum(0) / values.sum()
    # Directions that are rounding noise of the weights are not what alignment changed, whatever the energy.
    real = int((values > values[0] * 1e-10).sum())
    count = min(int((reached < energy).sum()) + 1, real)
    kept = vectors[:, :count]
    if outputs > inputs:
        kept, _ = torch.linalg.qr(wide @ kept)
    found: torch.Tensor = kept.float()
    return found
