"""Imports the model's part of vLLM before any test does.

vLLM's worker for CPUs replaces `async_tensor_h2d`, as it is imported, by a function that copies nothing; the tests of
copies need the one that every other device has.
"""

from llava_interleave_serve.model_executor import vllm_compat

__all__ = ["vllm_compat"]
