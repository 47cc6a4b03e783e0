"""Clients that are broken or mean. Each checks the status that it gets; the rest keeps being served.

`patient`: some wait until the server has had enough of them, which takes up to 40 s.
"""
from __future__ import annotations

import asyncio
import json
import random

from client import Client, Gone, ask, get

STORY = "Once upon a time "


async def expect(port, path, body, status, sentence, chunked=False):
    got, text = await ask(port, path, body, chunked)
    assert got == status, f"{path}: {got}, not {status}: {text[:200]}"
    message = json.loads(text)["error"]["message"]
    assert sentence in message and "\n" not in message, f"{path}: {message[:300]}"


async def raw(port, data: bytes, status: int):
    """What is no HTTP gets its status and the end of its connection."""
    client = Client(port)
    try:
        await client.connect()
        await client.send(data)
        got, _ = await client.reply()
        assert got == status, f"{data[:60]}: {got}, not {status}"
        assert await asyncio.wait_for(client.reader.read(1), 10) == b"", "the connection is still open"
    except (Gone, ConnectionError):
        pass  # the answer was lost to a reset, as the server did not wait for all that was sent
    finally:
        client.close()


async def huge_prompt(port, _, patient):
    path, key = random.choice([("/v1/completions", "prompt"), ("/generate", "text")])
    await expect(port, path, {key: STORY * 60_000}, 400, "leaves no room in the context")


async def broken_json(port, draw, patient):
    text = json.dumps({"prompt": STORY, "max_tokens": 4, "logit_bias": {"5": 1.5}}).encode()
    await expect(port, "/v1/completions", text[:draw.randrange(1, len(text))], 400, "body")


async def deep_json(port, draw, patient):
    deep = b'{"prompt": ' + draw.choice([b"[" * 100_000, b'{"a":' * 100_000])
    await expect(port, draw.choice(["/v1/completions", "/v1/chat/completions"]), deep, 400, "deep")


async def not_utf8(port, _, patient):
    await expect(port, "/v1/completions", b'{"prompt": "\xff\xfe"}', 400, "not valid UTF-8", chunked=True)


async def misspelt(port, _, patient):
    await expect(port, "/v1/completions", {"promt": STORY}, 400, "did you mean prompt?")


async def chunked_garbage(port, draw, patient):
    head = b"POST /v1/completions HTTP/1.1\r\nHost: soak\r\nTransfer-Encoding: chunked\r\n\r\n"
    await raw(port, head + draw.choice([b"zz\r\nabc\r\n", b"3\r\nabcdef\r\n", b"ffffffffffffffffffff\r\nabc\r\n",
                                        b"-1\r\n\r\n", b"g" + draw.randbytes(64) + b"\r\n"]), 400)


async def no_http(port, draw, patient):
    await raw(port, *draw.choice([(b"hello\r\n\r\n", 400), (b"\x16\x03\x01\x02\x00\x01\x00\x01\r\n", 400),
                                  (b"GET /health HTTP/1.1\r\nA: " + b"x" * 100_000 + b"\r\n\r\n", 431),
                                  (b"POST /generate HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413)]))


async def small_routes(port, _, patient):
    for path in ("/health", "/v1/models", "/get_model_info"):
        status, _ = await get(port, path)
        assert status == 200, f"{path}: {status}"


async def half_open(port, draw, patient):
    """Sends the beginning of a request and nothing more."""
    whole = b"POST /generate HTTP/1.1\r\nHost: soak\r\nContent-Length: 1000\r\n\r\n" + b'{"text": "'
    client = Client(port)
    await client.connect()
    try:
        await client.send(whole[:draw.randrange(1, len(whole))])
        # Until the server has enough of it: 20 s for headers, 30 s for silence in a body.
        if patient and draw.random() < 0.3:
            status, _ = await client.reply()
            assert status == 408, f"half open: {status}"
        else:
            await asyncio.sleep(draw.uniform(0.5, 3))
    except Gone:
        pass
    finally:
        client.close(reset=draw.random() < 0.5)


async def slow_reader(port, draw, patient):
    """Asks for megabytes and does not read them: its request must not hold up the others, nor stay for ever."""
    client = Client(port)
    await client.connect(receive_buffer=1024)
    try:
        await client.post("/generate", {"text": STORY, "stream": True, "return_logprob": True, "top_logprobs_num": 5,
                                        "sampling_params": {"max_new_tokens": 200, "ignore_eos": True, "n": 4}})
        await client.head()
        await asyncio.sleep(40 if patient and draw.random() < 0.3 else draw.uniform(1, 4))
    except Gone:
        pass
    finally:
        client.close(reset=True)


QUICK = [huge_prompt, broken_json, deep_json, not_utf8, misspelt, chunked_garbage, no_http, small_routes]
SLOW = [half_open, slow_reader]
