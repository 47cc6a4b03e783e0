"""How tokens are chosen: vLLM's SamplingParams with vLLM's defaults."""
from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field, fields
from typing import Any

from octavo.keywords import check_keywords, to_json

# What vLLM has beside these: taken where it asks for nothing, refused by the library with a reason where it does.
_NOT_OFFERED = ("bad_words", "allowed_token_ids", "logits_processors", "structured_outputs", "guided_decoding",
                "best_of", "use_beam_search")
# How a server streams decides nothing here.
_WITHOUT_EFFECT = ("output_kind", "extra_args", "truncate_prompt_tokens_side")


@dataclass(init=False)
class SamplingParams:
    """max_tokens None: up to the context. logprobs k: of each output token, and the k most likely; prompt_logprobs
    likewise. Values are checked where they are used, by the engine, whose sentence is a ValueError then."""

    n: int = 1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    max_tokens: int | None = 16
    min_tokens: int = 0
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    detokenize: bool = True
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    include_stop_str_in_output: bool = False
    logit_bias: dict[int, float] | None = None
    priority: int = 0
    cache_salt: str | None = None
    _refused: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __init__(self, **values: Any) -> None:
        names = [f.name for f in fields(self) if not f.name.startswith("_")]
        check_keywords("SamplingParams", values, [*names, *_NOT_OFFERED, *_WITHOUT_EFFECT])
        for f in fields(self):
            setattr(self, f.name, values.get(f.name, {} if f.name == "_refused" else f.default))
        self._refused = {name: values[name] for name in _NOT_OFFERED if values.get(name)}

    def clone(self) -> SamplingParams:
        return copy.deepcopy(self)

    def _json(self) -> str:
        options = {f.name: getattr(self, f.name) for f in fields(self) if not f.name.startswith("_")}
        if self.logit_bias is not None:
            options["logit_bias"] = {str(int(token)): bias for token, bias in self.logit_bias.items()}
        refused = {name: bool(value) for name, value in self._refused.items()}
        out = json.loads(to_json({**options, **refused}))
        out["max_tokens"] = self.max_tokens  # None is not the default, 16
        return json.dumps(out, default=lambda number: number.__index__())
