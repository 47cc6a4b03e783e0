"""What the soak asks: requests of every shape for every generating route, and their streams put together again."""
from __future__ import annotations

import json
import pathlib
import random

from client import Client, exact

MODEL = pathlib.Path(__file__).resolve().parents[2] / "models/abacus"
CONTEXT = 1024  # of models/abacus
COMPLETIONS, CHAT, GENERATE = "/v1/completions", "/v1/chat/completions", "/generate"


def make_requests(count: int, seed: int, short: bool):
    """[(path, body)], all with logprobs, all of fixed seed: each has one right answer."""
    draw = random.Random(seed)
    questions = [json.loads(line)["question"] for line in (MODEL / "heldout.jsonl").read_text().splitlines()]
    stories = (MODEL / "stories.txt").read_text()
    out = []
    for i in range(count):
        path = (COMPLETIONS, CHAT, GENERATE)[i % 3]
        # Characters; the model's tokens have about three. One in six fills the context, prompt or output.
        length = draw.choice([3, 40, 40, 300, 900, 2600])
        start = draw.choice([0, 0, draw.randrange(len(stories) - 3000)])  # many prompts begin alike
        prompt = draw.choice([draw.choice(questions), stories[start:start + length]])
        tokens = draw.choice([1, 8, 20, 60, 150] if short else [1, 8, 30, 80, 200, 600])
        if i % 12 == 4:
            tokens = CONTEXT  # up to the context's end
        sampling = draw.choice([{"temperature": 0}, {"temperature": 1}, {"temperature": 0.7, "top_p": 0.9, "top_k": 40},
                                {"temperature": 1.2, "min_p": 0.05, "repetition_penalty": 1.1},
                                {"temperature": 1, "frequency_penalty": 0.3, "presence_penalty": 0.2}])
        ignore = {"ignore_eos": True} if i % 4 else {}
        stop = {"stop": ["\n\n", "###"]} if i % 7 == 3 else {}
        n = 2 if i % 10 == 5 else 1
        top = draw.choice([0, 0, 3])
        if path == GENERATE:
            tokens = min(tokens, 150)  # every piece of SGLang's stream repeats all before it
            body = {"text": prompt, "return_logprob": True, "top_logprobs_num": top,
                    "sampling_params": {"max_new_tokens": tokens, "n": n, "sampling_seed": i, **sampling, **ignore,
                                        **stop}}
            if i % 2:
                body["logprob_start_len"] = 0
        else:
            body = {"max_tokens": tokens, "n": n, "seed": i, "return_token_ids": True, **sampling, **ignore, **stop}
            if path == CHAT:
                body |= {"messages": [{"role": "user", "content": prompt}], "logprobs": True, "top_logprobs": top}
            else:
                body |= {"prompt": prompt, "logprobs": top, "echo": i % 5 == 0}
        out.append((path, body | {"stream": True}))
    return out


def put_together(path: str, events: list[str]):
    """The whole answer of a stream's events: text, ids, logprobs and end of each continuation, as printed."""
    assert events and events[-1] == "[DONE]", f"the stream ends with {events[-1:]}"
    if path == GENERATE:
        last = {}
        for text in events[:-1]:
            piece = exact(text) if '"finish_reason":null' not in text else None
            if piece is not None:
                meta = piece["meta_info"]
                last[piece.get("index", 0)] = [piece["text"], piece["output_ids"]] + [
                    meta.get(key) for key in ("finish_reason", "prompt_tokens", "completion_tokens",
                                              "input_token_logprobs", "input_top_logprobs", "output_token_logprobs",
                                              "output_top_logprobs")]
        return last
    out = {}
    for text in events[:-1]:
        piece = exact(text)
        assert "error" not in piece, text
        for choice in piece["choices"]:
            text_, ids, logprobs, end = out.setdefault(choice["index"], ["", [], {}, []])
            text_ += choice["delta"].get("content", "") if "delta" in choice else choice["text"]
            ids += choice.get("token_ids") or []
            for key, values in (choice["logprobs"] or {}).items():
                logprobs.setdefault(key, []).extend(values)
            if choice["finish_reason"] is not None:
                end += [choice["finish_reason"], choice["stop_reason"]]
            out[choice["index"]] = [text_, ids, logprobs, end]
    return out


async def stream(client: Client, path: str, body: dict, stop_after: int | None = None):
    """The events of one streamed request; None where it was left after `stop_after` chunks."""
    await client.post(path, body)
    status, _ = await client.head()
    assert status == 200, f"{path}: status {status}"
    events, seen = [], 0
    async for chunk in client.chunks():
        seen += 1
        if stop_after is not None and seen > stop_after:
            return None
        for text in chunk.decode().split("\n\n")[:-1]:
            assert text.startswith("data: "), text
            if path == GENERATE and events and '"finish_reason":null' in events[-1]:
                events.pop()  # said again by the next
            events.append(text[6:])
    return events
