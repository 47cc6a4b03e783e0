"""The model's tokenizer and chat template, with the names of transformers."""
from __future__ import annotations

import json
from typing import Any, Iterable, Mapping

from octavo import _octavo


class Tokenizer:
    """Made by LLM.get_tokenizer(); lives as long as its LLM is open."""

    def __init__(self, engine: _octavo.Engine, info: Mapping[str, Any]) -> None:
        self._engine = engine
        self.bos_token_id: int | None = info["bos_token_id"]
        self.eos_token_id: int | None = info["eos_token_id"]
        self.vocab_size: int = info["vocab_size"]

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return self._engine.tokenize(text, add_special_tokens)

    def decode(self, token_ids: int | Iterable[int], skip_special_tokens: bool = False) -> str:
        ids = [token_ids] if isinstance(token_ids, int) else [int(token) for token in token_ids]
        return self._engine.detokenize(ids, skip_special_tokens)

    def apply_chat_template(self, conversation: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None,
                            add_generation_prompt: bool = False, tokenize: bool = True,
                            **variables: Any) -> str | list[int]:
        """The prompt's ids, or its text; `variables` are further ones of the template (enable_thinking, ...)."""
        chat = {"messages": conversation, "add_generation_prompt": add_generation_prompt,
                "chat_template_kwargs": variables}
        if tools:
            chat["tools"] = tools
        text = self._engine.render_chat(json.dumps(chat))
        return self.encode(text, add_special_tokens=False) if tokenize else text
