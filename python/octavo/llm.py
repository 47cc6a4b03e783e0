"""The model: generate, chat, new weights."""
from __future__ import annotations

import itertools
import json
import os
import sys
from typing import Any, Callable, Iterable, Mapping, Sequence, Union

from octavo import _octavo
from octavo.arrays import view
from octavo.keywords import check_keywords, to_json
from octavo.outputs import CompletionOutput, Logprob, RequestOutput
from octavo.sampling_params import SamplingParams
from octavo.tokenizer import Tokenizer

# Text, ids, {"prompt": text} or {"prompt_token_ids": ids}.
Prompt = Union[str, Sequence[int], Mapping[str, Any]]

_OPTIONS = ("quantization", "quantization_config", "hf_overrides", "ignore", "keep_first", "keep_last", "edge", "compute",
            "activations", "lm_head", "kv_cache_dtype", "dtype", "load_format", "max_model_len", "max_num_seqs",
            "max_num_batched_tokens", "kv_memory", "gpu_memory_utilization", "enable_prefix_caching", "max_logprobs",
            "logprobs_mode", "seed", "weight_version", "chat_template", "update_timeout", "free_update_memory", "threads")
# Arguments of vLLM's LLM that ask for what is so here in any case.
_WITHOUT_EFFECT = ("trust_remote_code", "enforce_eager", "disable_log_stats", "enable_sleep_mode", "enable_chunked_prefill",
                   "disable_custom_all_reduce", "swap_space", "cpu_offload_gb")


class LLM:
    """A model that is loaded and runs. Its arguments are vLLM's, and the options of `octavo serve` by the same names.

    `model`: a folder, or a name of the Hugging Face hub (with the package huggingface_hub). Every method may be called
    from any thread. close(), or `with LLM(...) as llm:`, gives the memory back.
    """

    def __init__(self, model: str | os.PathLike[str], *, tokenizer: str | None = None, tensor_parallel_size: int = 1,
                 **options: Any) -> None:
        check_keywords("LLM", options, [*_OPTIONS, *_WITHOUT_EFFECT, "tokenizer", "tensor_parallel_size"])
        if tokenizer is not None and os.fspath(tokenizer) != os.fspath(model):
            raise ValueError(f"tokenizer {tokenizer}: the tokenizer of the model's folder is taken; leave it out")
        if tensor_parallel_size != 1:
            raise ValueError(f"tensor_parallel_size {tensor_parallel_size}: one process serves one machine; leave it out")
        wanted = {name: value for name, value in options.items() if name in _OPTIONS}
        self._engine = _octavo.Engine(_folder(os.fspath(model)), to_json(wanted))
        self._info: dict[str, Any] = json.loads(self._engine.info())
        self._ids = itertools.count()
        self._texts: dict[int, str] = {}
        self._tokenizer = Tokenizer(self._engine, self._info)

    # ---- generation

    def generate(self, prompts: Prompt | Sequence[Prompt],
                 sampling_params: SamplingParams | Sequence[SamplingParams] | None = None, *,
                 use_tqdm: bool = True) -> list[RequestOutput]:
        """Continues the prompts, all together, and gives their outputs in the same order.

        Prompts: text, token ids, {"prompt": ...}, {"prompt_token_ids": ...}, or a list of these. One SamplingParams for
        all or one each; None: the model's generation_config. use_tqdm draws a bar on a terminal, where tqdm is.
        """
        items = _as_list(prompts)
        if sampling_params is None:
            sampling_params = self.get_default_sampling_params()
        if isinstance(sampling_params, SamplingParams):
            params = [sampling_params] * len(items)
        else:
            params = list(sampling_params)
            if len(params) != len(items):
                raise ValueError(f"{len(params)} sampling_params for {len(items)} prompts")
        texts = {id(p): p._json() for p in params}
        requests = [(*_text_or_ids(item), texts[id(p)]) for item, p in zip(items, params)]
        with _Bar(len(items), use_tqdm) as bar:
            results = self._engine.generate(requests, bar.progress)
        return [self._output(request[0], p, result) for request, p, result in zip(requests, params, results)]

    def chat(self, messages: list[dict[str, Any]] | list[list[dict[str, Any]]],
             sampling_params: SamplingParams | Sequence[SamplingParams] | None = None, *, use_tqdm: bool = True,
             add_generation_prompt: bool = True, tools: list[dict[str, Any]] | None = None,
             chat_template_kwargs: Mapping[str, Any] | None = None) -> list[RequestOutput]:
        """Answers one conversation, or a list of them, by the model's chat template."""
        conversations = [messages] if messages and isinstance(messages[0], Mapping) else messages
        prompts = []
        texts = []
        for conversation in conversations:
            text = self._tokenizer.apply_chat_template(conversation, tools, add_generation_prompt, tokenize=False,
                                                       **dict(chat_template_kwargs or {}))
            texts.append(text)
            # The template has written the special tokens.
            prompts.append({"prompt_token_ids": self._tokenizer.encode(text, add_special_tokens=False)})
        outputs = self.generate(prompts, sampling_params, use_tqdm=use_tqdm)
        for output, text in zip(outputs, texts):
            output.prompt = text
        return outputs

    def get_default_sampling_params(self) -> SamplingParams:
        return SamplingParams(**self._info["default_sampling_params"])

    def get_tokenizer(self) -> Tokenizer:
        return self._tokenizer

    # ---- new weights

    def update_weights(self, weights: Mapping[str, Any] | Iterable[tuple[str, Any]], *, version: str | None = None,
                       policy: str = "abort", partial: bool = False, dtype: Any = None) -> dict[str, Any]:
        """New weights as one act: all of them or, after any exception, none. Returns what was done.

        Tensors by their checkpoint's names, as a state_dict() or an iterable that makes them one after the other:
        contiguous, on the CPU, BF16, FP16 or FP32 (encoded to FP8 where the model has it so) or FP8 with scales. Their
        memory is read, not copied. `partial`: what is not given stays. `policy` is for requests that run in other
        threads: abort, wait, keep, in_place. `dtype`: what integers mean, "bfloat16" of uint16.
        """
        update = _octavo.Update(self._engine, partial)
        try:
            for name, tensor in weights.items() if isinstance(weights, Mapping) else weights:
                try:
                    seen = view(tensor, dtype)
                except (TypeError, ValueError, BufferError) as error:
                    raise type(error)(f"{name}: {error}") from None
                update.tensor(name, seen)
            return json.loads(update.commit(policy, version))
        finally:
            update.abort()  # nothing where it was committed

    def update_weights_from_path(self, path: str | os.PathLike[str], *, version: str | None = None,
                                 policy: str = "abort", partial: bool = False) -> dict[str, Any]:
        """The same from a safetensors file or a model folder."""
        update = _octavo.Update(self._engine, partial)
        try:
            update.path(os.fspath(path))
            return json.loads(update.commit(policy, version))
        finally:
            update.abort()

    @property
    def weight_version(self) -> str:
        """The label of the weights: "default", then what update_weights was told, or the version's number."""
        return self._engine.weight_version()[1]

    @property
    def weight_version_number(self) -> int:
        """1, and one more with every update."""
        return self._engine.weight_version()[0]

    def weight_checksums(self) -> dict[str, str]:
        """Of the values that the model computes with, by name: equal where the weights are."""
        return json.loads(self._engine.weight_checksums())

    # ---- memory

    def sleep(self, level: int = 1) -> None:
        """Gives the memory of the KV cache and of updates back; requests wait. The weights stay, as level 1 asks."""
        if level not in (0, 1):
            raise ValueError(f"sleep level {level}: weights have no other copy, so they stay; use level 1")
        self._engine.release_memory()

    def wake_up(self, tags: Sequence[str] | None = None) -> None:
        self._engine.resume_memory()

    def reset_prefix_cache(self) -> None:
        self._engine.reset_prefix_cache()

    # ---- facts

    @property
    def info(self) -> dict[str, Any]:
        """precision, max_model_len, kv_cache_tokens, vocab_size, end_token_ids, warnings, ..."""
        return dict(self._info)

    def metrics(self) -> dict[str, Any]:
        return json.loads(self._engine.metrics())

    def close(self) -> None:
        self._engine.close()

    def __enter__(self) -> LLM:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- results

    def _output(self, prompt: str | None, params: SamplingParams, result: tuple[Any, ...]) -> RequestOutput:
        tokens, prompt_logprobs, cached, outputs = result
        decode = params.detokenize and self._info["has_tokenizer"]
        completions = []
        for index, (text, ids, logprobs, cumulative, finish, stop, error, versions) in enumerate(outputs):
            completions.append(CompletionOutput(
                index, text, ids, None if logprobs is None else cumulative,
                None if logprobs is None else [self._logprobs(entries, decode) for entries in logprobs],
                finish, stop, error, versions))
        seen = None
        if params.prompt_logprobs is not None:
            seen = [None, *(self._logprobs(entries, decode) for entries in prompt_logprobs or [])]
        return RequestOutput(str(next(self._ids)), prompt, tokens, seen, completions, True, cached)

    def _logprobs(self, entries: list[tuple[int, int, float]], decode: bool) -> dict[int, Logprob]:
        return {token: Logprob(value, rank, self._text(token) if decode else None) for token, rank, value in entries}

    def _text(self, token: int) -> str:
        text = self._texts.get(token)
        if text is None:
            text = self._texts[token] = self._tokenizer.decode(token)
        return text


class _Bar:
    """tqdm's bar where it is wanted, there, and seen; else nothing."""

    def __init__(self, total: int, wanted: bool) -> None:
        self._bar = None
        if wanted and sys.stderr is not None and sys.stderr.isatty():
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self._bar = tqdm(total=total, desc="Processed prompts", dynamic_ncols=True)

    @property
    def progress(self) -> Callable[[int, int], None] | None:
        return None if self._bar is None else self._show

    def _show(self, done: int, total: int) -> None:
        self._bar.update(done - self._bar.n)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._bar is not None:
            if kind is None:
                self._bar.update(self._bar.total - self._bar.n)
            self._bar.close()


def _as_list(prompts: Any) -> list[Any]:
    if isinstance(prompts, (str, Mapping)):
        return [prompts]
    items = list(prompts)
    # A list of ids is one prompt, a list of anything else is several.
    return [items] if items and all(_is_id(item) for item in items) else items


def _is_id(item: Any) -> bool:
    return hasattr(item, "__index__") and not isinstance(item, (str, Mapping, Sequence))


def _text_or_ids(prompt: Any) -> tuple[str | None, list[int] | None]:
    if isinstance(prompt, str):
        return prompt, None
    if isinstance(prompt, Mapping):
        known = ("prompt", "prompt_token_ids")
        check_keywords("a prompt", prompt, known)
        if prompt.get("prompt_token_ids") is None:
            if not isinstance(prompt.get("prompt"), str):
                raise ValueError('a prompt has neither "prompt" nor "prompt_token_ids"')
            return prompt["prompt"], None
        prompt = prompt["prompt_token_ids"]
    return None, [item.__index__() for item in prompt]


def _folder(model: str) -> str:
    """The folder of a name of the hub; whatever exists under the path, and what is no such name, stays as it is."""
    name, _, revision = model.partition("@")
    if os.path.exists(model) or name.count("/") != 1 or name.startswith((".", "/", "~")):
        return model
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ValueError(f"{model}: no such folder; a name of the Hugging Face hub needs the package huggingface_hub") \
            from None
    return snapshot_download(name, revision=revision or None,
                             allow_patterns=["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model"])
