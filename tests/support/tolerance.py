"""The allowed error of an implementation, against the float64 oracle."""

import torch


def assert_as_exact_as_eager(actual: torch.Tensor, eager: torch.Tensor, oracle: torch.Tensor) -> None:
    """Asserts that the greatest error is at most twice the sum of eager torch's in the same dtype and one rounding.

    actual, eager: results in one low-precision dtype. oracle: the float64 result of the same inputs.
    """
    assert actual.shape == oracle.shape
    assert actual.dtype == eager.dtype
    assert not actual.isnan().any() or oracle.isnan().any()
    if oracle.numel() == 0:
        return
    rounding = oracle.abs().max() * torch.finfo(actual.dtype).eps / 2
    allowed = 2 * ((eager.double() - oracle).abs().max() + rounding)
    assert (actual.double() - oracle).abs().max() <= allowed
