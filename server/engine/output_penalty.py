"""The repetition penalty of the authors' checkpoints, which counts generated tokens alone, in vLLM's serving."""

from typing import Any

FIELD = "output_repetition_penalty"  # of model_executor.original.output_penalty
FIRST_RUNNER = "llava_interleave_serve.model_executor.original.output_penalty:OutputRepetitionPenalty"
SECOND_RUNNER = "llava_interleave_serve.model_executor.original.second_runner_penalty:SecondRunnerOutputPenalty"


def add_processor(vllm_config: Any) -> None:
    """Adds the logits processor of the model runner that vLLM takes, if the checkpoint's defaults have a penalty."""
    model_config = vllm_config.model_config
    if model_config.get_diff_sampling_param().get("repetition_penalty", 1.0) == 1.0:
        return
    added = SECOND_RUNNER if vllm_config.use_v2_model_runner else FIRST_RUNNER
    model_config.logits_processors = [*(model_config.logits_processors or []), added]


class OutputPenalty:
    """Mixed into vLLM's serving of chats and completions.

    Attributes:
        output_penalty: the repetition penalty over generated tokens alone, of requests that have none of their own.

    """

    default_sampling_params: dict[str, Any]
    output_penalty: float | None = None

    def penalise_output_alone(self) -> None:
        """Applies the checkpoint's own repetition penalty to generated tokens alone.

        transformers gives it no token of a prompt that is embedded, which the authors' prompts are; vLLM's own counts
        the prompt's tokens too.
        """
        penalty = self.default_sampling_params.pop("repetition_penalty", 1.0)
        self.output_penalty = None if penalty == 1.0 else penalty

    @property
    def sampling_defaults(self) -> dict[str, Any]:
        """What a request that does not say is sampled with."""
        penalty = {} if self.output_penalty is None else {FIELD: self.output_penalty}
        return {**self.default_sampling_params, **penalty}

    def add_penalty(self, request: Any) -> None:
        """Gives vLLM's request the checkpoint's penalty, unless it has one of its own or searches by beams."""
        if self.output_penalty is not None and request.repetition_penalty is None and not request.use_beam_search:
            request.vllm_xargs = {FIELD: self.output_penalty}
