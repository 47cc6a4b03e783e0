"""Octavo in Python: FP8 for large language models, in vLLM's shapes.

    from octavo import LLM, SamplingParams
    llm = LLM("Qwen/Qwen3-0.6B", quantization="fp8_block")
    print(llm.generate("Hello", SamplingParams(max_tokens=20))[0].outputs[0].text)

docs/python.md says what there is.
"""
from octavo._octavo import Array, Error, __version__
from octavo.arrays import encode
from octavo.checkpoints import quantize, verify
from octavo.llm import LLM
from octavo.outputs import CompletionOutput, Logprob, RequestOutput
from octavo.sampling_params import SamplingParams
from octavo.tokenizer import Tokenizer

Error.__module__ = "octavo"  # as users know it
Array.__module__ = "octavo"

__all__ = ["LLM", "SamplingParams", "RequestOutput", "CompletionOutput", "Logprob", "Tokenizer", "Array", "Error",
           "encode", "quantize", "verify", "__version__"]
