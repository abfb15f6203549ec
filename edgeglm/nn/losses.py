"""What training makes small."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def distillation_loss(
    student: Tensor,
    teacher: Tensor | None,
    targets: Tensor | None,
    *,
    temperature: float,
    alpha: float,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return ``alpha * T^2 * KL(teacher || student) + (1 - alpha) * cross entropy``, a scalar.

    Both distributions are softened by the temperature T. The factor T^2 keeps the gradients of the soft part as large
    as those of the hard part whatever T is.

    Args:
        student: Logits (B, K), float32.
        teacher: Logits (B, K), float32; None with alpha 0.
        targets: Class numbers (B,), int64; None with alpha 1.
        temperature: Above 0; 1 leaves the distributions as they are.
        alpha: Weight of the teacher, 0 to 1.
        label_smoothing: Share of each target spread over all classes, in the hard part only.

    Source: Hinton et al. 2015, arXiv:1503.02531, section 2.
    """
    loss = student.new_zeros(())
    if teacher is not None and alpha > 0:
        soft = F.log_softmax(student / temperature, dim=-1)
        wanted = F.log_softmax(teacher / temperature, dim=-1)
        loss = loss + alpha * temperature**2 * F.kl_div(soft, wanted, reduction="batchmean", log_target=True)
    if targets is not None and alpha < 1:
        loss = loss + (1 - alpha) * F.cross_entropy(student, targets, label_smoothing=label_smoothing)
    return loss
