"""How far an implementation may be from the float64 oracle."""

import torch


def assert_as_exact_as_eager(got: torch.Tensor, eager: torch.Tensor, oracle: torch.Tensor) -> None:
    """The greatest error is at most twice that of eager torch in the same dtype plus one rounding of the result.

    got, eager: of one low-precision dtype; oracle: float64, of the same inputs.
    """
    assert got.shape == oracle.shape
    assert got.dtype == eager.dtype
    assert not got.isnan().any() or oracle.isnan().any()
    if oracle.numel() == 0:
        return
    rounding = oracle.abs().max() * torch.finfo(got.dtype).eps / 2
    allowed = 2 * ((eager.double() - oracle).abs().max() + rounding)
    assert (got.double() - oracle).abs().max() <= allowed
