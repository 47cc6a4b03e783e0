"""FP8 folders: `octavo quantize` and `octavo verify`."""
from __future__ import annotations

import json
import os
from typing import Any, Callable, Sequence

from octavo import _octavo
from octavo.keywords import check_keywords, to_json

Progress = Callable[[int, int], None]

_QUANTIZE_OPTIONS = ("scheme", "format", "loader", "dtype", "arith", "scale_dtype", "block_size", "edge", "nonfinite",
                     "pow2_scales", "direct", "ignore", "keep_first", "keep_last", "only", "lm_head", "sqnr",
                     "restart", "threads")


def quantize(model: str | os.PathLike[str], output: str | os.PathLike[str], *, progress: Progress | None = None,
             **options: Any) -> dict[str, Any]:
    """Writes the model folder `model` in FP8 to `output`; the summary of `octavo quantize --json`.

    `options` are those of the command: scheme, format, loader (--for), ignore, only, keep_first, keep_last, lm_head,
    block_size, edge, scale_dtype, pow2_scales, direct, nonfinite, sqnr, restart, threads. `progress(done, total)` is
    called with bytes. After Ctrl-C the same call goes on from there.
    """
    check_keywords("quantize()", options, _QUANTIZE_OPTIONS)
    return json.loads(_octavo.quantize(os.fspath(model), os.fspath(output), to_json(options), progress))


def verify(folder: str | os.PathLike[str], *, against: str | os.PathLike[str] | None = None,
           loaders: str | Sequence[str] | None = None, threads: int | None = None,
           progress: Progress | None = None) -> dict[str, Any]:
    """Judges an FP8 folder; the report of `octavo verify --json`, with "ok" and "violations".

    `against`: the folder it was made from; `loaders`: vllm, sglang, transformers, tensorrt-llm, whose refusals count.
    """
    options = {"against": None if against is None else os.fspath(against), "loaders": loaders, "threads": threads}
    return json.loads(_octavo.verify(os.fspath(folder), to_json(options), progress))
