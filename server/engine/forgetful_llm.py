"""vLLM's AsyncLLM without the pixels of the requests that its engine has, and with a rank for each first visual."""

import zlib
from typing import Any

from llava_interleave_serve.server.engine import vllm_compat


class ForgetfulLLM(vllm_compat.AsyncLLM):
    """Drops the pixels of a request once they are sent: vLLM keeps its input until the answer ends.

    With several data parallel ranks, requests that begin with the same visual go to the same rank, whose caches have
    it: by load alone each rank would encode it. Texts go by load.
    """

    async def add_request(self, request_id: str, prompt: Any, *args: Any, **options: Any) -> Any:
        """vLLM's hook: sends the request to the engine's process, and takes the pixels out of the input.

        Beam search sends an input of its own for each beam and step, and keeps the one that it was given.
        """
        if options.get("data_parallel_rank") is None and isinstance(prompt, dict):
            options["data_parallel_rank"] = self._rank_of(prompt)
        queue = await super().add_request(request_id, prompt, *args, **options)
        if isinstance(prompt, dict):
            prompt.pop("mm_kwargs", None)
        return queue

    def _rank_of(self, prompt: dict[str, Any]) -> int | None:
        """The data parallel rank of an input's first visual; None for the one with the least load."""
        parallel, hashes = self.vllm_config.parallel_config, (prompt.get("mm_hashes") or {}).get("image")
        if not hashes or parallel.data_parallel_size == 1 or parallel.local_engines_only:
            return None
        return zlib.crc32(str(hashes[0]).encode()) % int(parallel.data_parallel_size)
