"""vLLM's AsyncLLM without the pixels of the requests that its engine has."""

from typing import Any

from llava_interleave_serve.server.engine import vllm_compat


class ForgetfulLLM(vllm_compat.AsyncLLM):
    """Drops the pixels of a request once they are sent: vLLM keeps its input until the answer ends."""

    async def add_request(self, request_id: str, prompt: Any, *args: Any, **options: Any) -> Any:
        """vLLM's hook: sends the request to the engine's process, and takes the pixels out of the input.

        Beam search sends an input of its own for each beam and step, and keeps the one that it was given.
        """
        queue = await super().add_request(request_id, prompt, *args, **options)
        if isinstance(prompt, dict):
            prompt.pop("mm_kwargs", None)
        return queue
