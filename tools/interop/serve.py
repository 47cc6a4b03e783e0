#!/usr/bin/env python3
"""Starts `octavo serve` on models/abacus and talks to it with the `openai` package and curl, unmodified.

serve.py OCTAVO
"""
import concurrent.futures
import json
import subprocess
import sys

import openai

from server import KEY, start

MESSAGES = [{"role": "user", "content": "12 + 7"}]


def completions(client):
    ask = dict(model="abacus", prompt="12+7=", max_tokens=8, temperature=0, echo=True)
    whole = client.completions.create(**ask, logprobs=2)
    choice = whole.choices[0]
    assert choice.text.startswith("12+7=") and whole.usage.completion_tokens == 8
    assert choice.logprobs.token_logprobs[0] is None and all(x <= 0 for x in choice.logprobs.token_logprobs[1:])
    assert "".join(p.choices[0].text for p in client.completions.create(**ask, stream=True)) == choice.text


def chat(client):
    ask = dict(model="abacus", messages=MESSAGES, max_tokens=12, temperature=0)
    whole = client.chat.completions.create(**ask, logprobs=True, top_logprobs=2, n=2)
    assert [c.message.role for c in whole.choices] == ["assistant"] * 2
    assert len(whole.choices[0].logprobs.content[0].top_logprobs) == 2
    pieces = list(client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
    text = "".join(p.choices[0].delta.content or "" for p in pieces if p.choices)
    assert text == whole.choices[0].message.content
    assert pieces[-1].usage.completion_tokens == whole.usage.completion_tokens // 2
    client.chat.completions.create(**ask, extra_body={"top_k": 1, "return_token_ids": True})


def errors(client, url):
    stranger = openai.OpenAI(base_url=url + "/v1", api_key="wrong", max_retries=0)
    for call, kind in [
            (lambda: client.completions.create(model="none", prompt="a"), openai.NotFoundError),
            (lambda: client.completions.create(model="abacus", prompt="a", temperature=-1), openai.BadRequestError),
            (lambda: client.chat.completions.create(model="abacus", messages=MESSAGES,
                                                    response_format={"type": "json_object"}), openai.BadRequestError),
            (lambda: stranger.models.list(), openai.AuthenticationError)]:
        try:
            call()
        except kind as error:
            assert error.body["message"]
        else:
            raise AssertionError(f"no {kind.__name__}")


def parallel(client):
    def ask(i):
        return client.completions.create(model="abacus", prompt=f"{i % 8}+1=", max_tokens=40, seed=1,
                                         temperature=1).choices[0].text
    alone = [ask(i) for i in range(8)]
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        assert list(pool.map(ask, range(256))) == alone * 32


def curl(url):
    def run(path, body):
        return json.loads(subprocess.run(["curl", "-sS", "-H", f"Authorization: Bearer {KEY}", url + path, "-d", "@-"],
                                         input=body, check=True, capture_output=True, text=True).stdout)
    sampling = {"max_new_tokens": 4, "temperature": 0}
    body = json.dumps({"text": "1+1=", "sampling_params": sampling, "return_logprob": True})
    meta = run("/generate", body)["meta_info"]
    assert meta["finish_reason"]["type"] in ("stop", "length") and meta["output_token_logprobs"]
    # More than a megabyte: curl asks with Expect: 100-continue.
    assert "leaves no room" in run("/v1/completions", json.dumps({"prompt": "x " * 10**6}))["error"]["message"]


def main():
    server, url = start(sys.argv[1])
    try:
        client = openai.OpenAI(base_url=url + "/v1", api_key=KEY, max_retries=0)
        assert [m.id for m in client.models.list()] == ["abacus"] == [client.models.retrieve("abacus").id]
        completions(client)
        chat(client)
        errors(client, url)
        parallel(client)
        curl(url)
        server.terminate()
        assert server.wait(30) == 0
    finally:
        server.kill()
    print(f"serve: openai {openai.__version__} and curl: ok")


if __name__ == "__main__":
    main()
