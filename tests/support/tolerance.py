"""The allowed error of an implementation, against the float64 oracle."""

import torch


def assert_as_exact_as_eager(got: torch.Tensor, eager: torch.Tensor, oracle: torch.Tensor) -> None:
    """Asserts that the greatest error is at most twice the sum of eager torch's in the same dtype and one rounding.

    got, eager: results in one low-precision dtype. oracle: the float64 result of the same inputs.
    """
    assert got.shape == oracle.shape
    assert got.dtype == eager.dtype
    assert not got.isnan().any() or oracle.isnan().any()
    if oracle.numel() == 0:
        return
    rounding = oracle.abs().max() * torch.finfo(got.dtype).eps / 2
    allowed = 2 * ((eager.double() - oracle).abs().max() + rounding)
    assert (got.double() - oracle).abs().max() <= allowed
