"""The split of a device's memory between weights, encoder outputs and KV blocks: the arithmetic, without a device."""

from dataclasses import dataclass
from typing import Any, Self

from llava_interleave_serve.model_executor import encoder_limits
from llava_interleave_serve.server.engine.cards import Device

GIB = 2**30
LOGIT_BYTES = 10  # of a logit while tokens are sampled: bfloat16, and two in float32


@dataclass(frozen=True, slots=True)
class ModelSizes:
    """Sizes of a model that decide what fits beside it.

    Attributes:
        weights_bytes: of all its weights.
        encoder_bytes: of tower and projector, of which each of several GPUs has all.
        element_bytes: of a weight and of an activation.
        kv_elements: of one token, the keys and values of all layers.
        hidden: width of the language model.
        intermediate: width of its MLP.
        vocabulary: tokens that it knows.
        patches: rows of an unpooled visual.
        longest_context: tokens of a context.

    """

    weights_bytes: int
    encoder_bytes: int
    element_bytes: int
    kv_elements: int
    hidden: int
    intermediate: int
    vocabulary: int
    patches: int
    longest_context: int

    @classmethod
    def of(cls, config: Any, element_bytes: int, weights_bytes: int | None = None) -> Self:
        """Reads the sizes from a LlavaConfig; weights_bytes: None to count the parameters by the configuration."""
        text, vision = config.text_config, config.vision_config
        counted = parameters(config) * element_bytes
        return cls(
            weights_bytes=counted if weights_bytes is None else weights_bytes,
            encoder_bytes=encoder_parameters(config) * element_bytes,
            element_bytes=element_bytes,
            kv_elements=2 * text.num_hidden_layers * text.num_key_value_heads * _head_size(text),
            hidden=text.hidden_size,
            intermediate=text.intermediate_size,
            vocabulary=text.vocab_size,
            patches=(vision.image_size // vision.patch_size) ** 2,
            longest_context=text.max_position_embeddings,
        )


def encoder_parameters(config: Any) -> int:
    """Counts the parameters of SigLIP without its head, and of the projector of two layers."""
    text, vision = config.text_config, config.vision_config
    wide, inner = vision.hidden_size, vision.intermediate_size
    patches = (vision.image_size // vision.patch_size) ** 2
    is_original = getattr(config, "visual_format", None) is not None  # whose count has a layer that the authors delete
    layers = vision.num_hidden_layers - is_original
    tower_layer = 4 * (wide * wide + wide) + 2 * wide * inner + inner + wide + 4 * wide
    tower = (3 * vision.patch_size**2 + 1 + patches) * wide + layers * tower_layer + 2 * wide
    total: int = tower + (wide + 1) * text.hidden_size + (text.hidden_size + 1) * text.hidden_size
    return total


def parameters(config: Any) -> int:
    """Counts the parameters of tower, projector and Qwen2."""
    text, hidden, size = config.text_config, config.text_config.hidden_size, _head_size(config.text_config)
    queries, keys = text.num_attention_heads * size, text.num_key_value_heads * size
    attention = (hidden + 1) * (queries + 2 * keys) + queries * hidden
    layer = attention + 3 * hidden * text.intermediate_size + 2 * hidden
    embeddings = text.vocab_size * hidden * (1 if text.tie_word_embeddings else 2)
    total: int = encoder_parameters(config) + embeddings + text.num_hidden_layers * layer + hidden
    return total


def _head_size(text: Any) -> int:
    size: int = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return size


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Split of a device's memory.

    Attributes:
        device: whose memory it is.
        reserve_bytes: left to others: vLLM takes a share only.
        weights_bytes: of the weights on the device.
        working_bytes: activations of a step, logits, graphs and libraries; an estimate.
        outputs_bytes: at most, of kept encoder outputs.
        kv_bytes: what is left for KV blocks.
        block_bytes: of one KV block.
        patches: rows of an unpooled visual.
        longest_context: tokens of a context if they fit.

    """

    device: Device
    reserve_bytes: int
    weights_bytes: int
    working_bytes: int
    outputs_bytes: int
    kv_bytes: int
    block_bytes: int
    patches: int
    longest_context: int

    @property
    def blocks(self) -> int:
        """KV blocks."""
        return self.kv_bytes // self.block_bytes

    @property
    def tokens(self) -> int:
        """Tokens that the KV blocks hold."""
        return self.blocks * self.device.block_size

    @property
    def context(self) -> int:
        """Tokens of the longest context that fits."""
        return min(self.longest_context, self.tokens)

    @property
    def visuals_a_step(self) -> int:
        """Visuals encoded in one step."""
        patches_a_step = self.device.patches_a_step
        return encoder_limits.visuals_a_step(self.patches, patches_a_step or self.device.tokens_a_step)


def outputs_bytes(sizes: ModelSizes, device: Device, visuals_kept: int = encoder_limits.VISUALS_KEPT) -> int:
    """The most bytes that kept encoder outputs take."""
    rows = encoder_limits.rows_kept(sizes.patches, device.tokens_a_step, visuals_kept)
    return rows * sizes.hidden * sizes.element_bytes


def split(
    sizes: ModelSizes,
    device: Device,
    kept_bytes: int,
    *,
    workers: int = 1,
    shares_views: bool = False,
    kv_element_bytes: int | None = None,
) -> MemoryPlan:
    """Splits the device's memory: what nothing else takes is left for KV blocks.

    kept_bytes: of encoder outputs. workers: among which tensor parallelism divides weights and keys and values.
    shares_views: True if each worker encodes a share of the views, with tower and projector whole.
    kv_element_bytes: of a key's or value's element; None for the model's own.

    Raises ValueError if not even one KV block is left.
    """
    reserve = device.memory_bytes - int(device.memory_bytes * device.share)
    activations = device.tokens_a_step * (3 * sizes.intermediate + 4 * sizes.hidden) * sizes.element_bytes
    working = activations + device.sequences * sizes.vocabulary * LOGIT_BYTES + device.runtime_bytes
    whole = sizes.encoder_bytes if shares_views and workers > 1 else 0
    weights = whole + (sizes.weights_bytes - whole) // workers
    left = device.memory_bytes - reserve - weights - working - kept_bytes
    block = device.block_size * sizes.kv_elements * (kv_element_bytes or sizes.element_bytes) // workers
    if left < block:
        raise ValueError(
            f"no room is left for KV blocks in {gib(device.memory_bytes)} of memory: {gib(reserve)} are left free, and "
            f"weights take {gib(weights)}, kept encoder outputs {gib(kept_bytes)}, and a step about {gib(working)}"
        )
    return MemoryPlan(device, reserve, weights, working, kept_bytes, left, block, sizes.patches, sizes.longest_context)


def share_without_outputs(share: float, kept_bytes: int, memory_bytes: int) -> float:
    """The share of the memory that vLLM may take for weights, a step and KV blocks: it does not know of the outputs."""
    return share - kept_bytes / memory_bytes


def sentence(
    blocks: int, block_size: int, patches: int, context: int, *, kept_bytes: int | None, first: str | None
) -> str:
    """The line of the log on a device's memory; first: how it begins, None for nothing."""
    parts = [] if first is None else [first]
    if kept_bytes is not None:
        parts.append(f"up to {gib(kept_bytes)} for kept encoder outputs")
    tokens = blocks * block_size
    parts.append(f"{blocks:,} KV blocks hold {tokens:,} tokens or {tokens // patches:,} unpooled visuals")
    parts.append(f"a context has {context:,}")
    return "memory: " + "; ".join(parts)


def share_of(memory_bytes: int, share: float) -> str:
    """How the line of a GPU begins."""
    return f"{gib(share * memory_bytes)} of {gib(memory_bytes)} ({share:.3f}) for weights and KV blocks"


def room_of(free_bytes: int, kv_bytes: int) -> str:
    """How the line of a CPU begins whose KV blocks got what was free."""
    return f"{gib(kv_bytes)} of {gib(free_bytes)} that were free for KV blocks"


def gib(size: float) -> str:
    """The size in GiB."""
    return f"{size / GIB:.2f} GiB"
