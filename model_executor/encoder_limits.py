"""Sizes of the encoder cache and of the encoder's share of a step, in visuals counted as if they were not pooled."""

VISUALS_KEPT = 64  # by default
PATCHES_A_STEP = 1024  # encoded on a CPU by default: one visual of 27x27, or 20 of 7x7; on a GPU, a step's tokens

# Most patches that the tower encodes in one call, of whatever vLLM asks for at once: 16 views of 27x27. Its activations
# take 20 MB a view of the published sizes, which vLLM's sizing of KV blocks does not know of.
PATCHES_A_CALL = 16 * 27**2


def rows_kept(patches: int, tokens_a_step: int, visuals_kept: int) -> int:
    """Rows of kept encoder outputs: of `visuals_kept`, and never less than a step or a single visual has."""
    return max(patches, tokens_a_step, visuals_kept * patches)


def visuals_a_step(patches: int, patches_a_step: int) -> int:
    """Visuals encoded in one step by default."""
    return max(1, patches_a_step // patches)
