"""The Python package on models/abacus, without torch: python3 tests/python/package_test.py SOURCE MAKE_CHECKPOINT."""
import ctypes
import gc
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import numpy as np

import octavo
from octavo import LLM, SamplingParams, _octavo

SOURCE = pathlib.Path(sys.argv[1])
MAKE_CHECKPOINT = sys.argv[2]
ABACUS = SOURCE / "models" / "abacus"
OPTIONS = dict(max_model_len=256, max_num_seqs=16, kv_memory=64 << 20, threads=2)
GREEDY = SamplingParams(temperature=0, max_tokens=12, logprobs=3, ignore_eos=True)


def read_safetensors(path):
    """{name: (dtype, shape, array of bytes)}; with code of its own."""
    data = np.fromfile(path, dtype=np.uint8)
    size = int(data[:8].view("<u8")[0])
    header = json.loads(bytes(data[8:8 + size]))
    header.pop("__metadata__", None)
    return {name: (t["dtype"], tuple(t["shape"]), data[8 + size + t["data_offsets"][0]:8 + size + t["data_offsets"][1]])
            for name, t in header.items()}


def bf16_weights():
    return {name: values.copy().view(np.uint16).reshape(shape)
            for name, (_, shape, values) in read_safetensors(ABACUS / "model.safetensors").items()}


def tokens_and_logprobs(outputs):
    return [(o.token_ids, [(t, e.logprob, e.rank) for step in o.logprobs for t, e in step.items()])
            for request in outputs for o in request.outputs]


class Generation(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.llm = LLM(ABACUS, quantization="fp8_block", **OPTIONS)

    @classmethod
    def tearDownClass(cls):
        cls.llm.close()

    def test_shapes_are_those_of_vllm(self):
        params = SamplingParams(temperature=0, max_tokens=12, logprobs=3, ignore_eos=True, prompt_logprobs=2)
        [request] = self.llm.generate("Once upon a time", params)
        tokenizer = self.llm.get_tokenizer()
        self.assertEqual(request.prompt, "Once upon a time")
        self.assertEqual(request.prompt_token_ids, tokenizer.encode("Once upon a time"))
        self.assertTrue(request.finished and request.outputs[0].finished())
        self.assertIsNone(request.prompt_logprobs[0])
        self.assertEqual(len(request.prompt_logprobs), len(request.prompt_token_ids))
        for token, entry in zip(request.prompt_token_ids[1:], request.prompt_logprobs[1:]):
            self.assertIn(token, entry)
            self.assertIn(len(entry), (2, 3))  # the token's own may be among the two
        [output] = request.outputs
        self.assertEqual((output.index, len(output.token_ids), output.finish_reason), (0, 12, "length"))
        self.assertEqual(output.text, tokenizer.decode(output.token_ids))
        for token, entry in zip(output.token_ids, output.logprobs):
            self.assertEqual(len(entry), 3)
            self.assertEqual(next(iter(entry)), token)
            self.assertEqual(sorted(e.rank for e in entry.values()), [1, 2, 3])
            self.assertEqual(entry[token].rank, 1)
            self.assertEqual(entry[token].decoded_token, tokenizer.decode([token]))
        self.assertEqual(output.cumulative_logprob, sum(e[t].logprob for t, e in zip(output.token_ids, output.logprobs)))
        self.assertEqual(output.weight_versions, [(1, "default", 0, 12)])

    def test_prompts_in_every_form(self):
        ids = self.llm.get_tokenizer().encode("Once upon a time")
        text = "Once upon a time"
        forms = [text, ids, np.array(ids), {"prompt": text}, {"prompt_token_ids": ids}, tuple(ids)]
        alone = [self.llm.generate(form, GREEDY)[0].outputs[0].token_ids for form in forms]
        together = [r.outputs[0].token_ids for r in self.llm.generate(forms, GREEDY)]
        self.assertEqual(alone, [alone[0]] * len(forms))
        self.assertEqual(together, alone)
        self.assertEqual(self.llm.generate([], GREEDY), [])

    def test_one_sampling_params_each(self):
        params = [SamplingParams(max_tokens=3, ignore_eos=True), SamplingParams(max_tokens=5, n=2, ignore_eos=True, seed=1)]
        first, second = self.llm.generate(["a", "b"], params)
        self.assertEqual([len(o.token_ids) for o in first.outputs + second.outputs], [3, 5, 5])
        self.assertNotEqual(second.outputs[0].token_ids, second.outputs[1].token_ids)
        with self.assertRaisesRegex(ValueError, "2 sampling_params for 1 prompts"):
            self.llm.generate(["a"], params)

    def test_alone_and_in_company_are_the_same_bits(self):
        prompts = [{"prompt_token_ids": [5 + i] * (3 + 7 * i)} for i in range(12)]
        together = tokens_and_logprobs(self.llm.generate(prompts, GREEDY))
        alone = [tokens_and_logprobs(self.llm.generate(p, GREEDY))[0] for p in prompts]
        self.assertEqual(together, alone)

    def test_stops(self):
        [free] = self.llm.generate("Once upon a time", GREEDY)
        ids = free.outputs[0].token_ids
        [by_id] = self.llm.generate("Once upon a time", SamplingParams(temperature=0, max_tokens=12, stop_token_ids=[ids[4]]))
        self.assertEqual((by_id.outputs[0].finish_reason, by_id.outputs[0].stop_reason), ("stop", ids[4]))
        word = self.llm.get_tokenizer().decode([ids[4]])
        [by_text] = self.llm.generate("Once upon a time", SamplingParams(temperature=0, max_tokens=12, stop=word))
        self.assertEqual((by_text.outputs[0].finish_reason, by_text.outputs[0].stop_reason), ("stop", word))
        self.assertNotIn(word, by_text.outputs[0].text)
        [end] = self.llm.chat([{"role": "user", "content": "Vera has 3 stamps and buys 4 more. How many has she?"}],
                              SamplingParams(temperature=0, max_tokens=None))
        self.assertEqual((end.outputs[0].finish_reason, end.outputs[0].stop_reason), ("stop", None))

    def test_chat_is_the_template_and_its_tokens(self):
        messages = [{"role": "user", "content": "How many are 3 and 4?"}]
        tokenizer = self.llm.get_tokenizer()
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        self.assertEqual(text, "<|im_start|>user\nHow many are 3 and 4?<|im_end|>\n<|im_start|>assistant\n")
        [chat] = self.llm.chat(messages, GREEDY)
        [same] = self.llm.generate(tokenizer.encode(text, add_special_tokens=False), GREEDY)
        self.assertEqual(chat.outputs[0].token_ids, same.outputs[0].token_ids)
        self.assertEqual(chat.prompt, text)
        both = self.llm.chat([messages, [{"role": "user", "content": "Hello"}]], GREEDY)
        self.assertEqual(both[0].outputs[0].token_ids, chat.outputs[0].token_ids)

    def test_detokenize_false_and_logit_bias(self):
        params = SamplingParams(temperature=0, max_tokens=4, logit_bias={300: 100.0}, detokenize=False, logprobs=0)
        [request] = self.llm.generate("a", params)
        self.assertEqual(request.outputs[0].token_ids, [300] * 4)
        self.assertEqual(request.outputs[0].text, "")
        self.assertIsNone(request.outputs[0].logprobs[0][300].decoded_token)

    def test_mistakes(self):
        with self.assertRaisesRegex(TypeError, "'temprature'; did you mean temperature"):
            SamplingParams(temprature=1)
        with self.assertRaisesRegex(TypeError, "'quantisation'; did you mean quantization"):
            LLM(ABACUS, quantisation="fp8")
        with self.assertRaisesRegex(ValueError, "^request 1: top_p 2: must be"):
            self.llm.generate(["a", "b"], [GREEDY, SamplingParams(top_p=2)])
        with self.assertRaisesRegex(ValueError, "kv_cache_dtype: \"fp8_e4m4\" is none of"):
            LLM(ABACUS, kv_cache_dtype="fp8_e4m4")
        with self.assertRaisesRegex(octavo.Error, "/no/such: no such folder"):
            LLM("/no/such")
        with self.assertRaisesRegex(octavo.Error, "1024 positions"):
            LLM(ABACUS, max_model_len=1 << 30)
        with self.assertRaisesRegex(octavo.Error, "outside the model.s vocabulary of 2048"):
            self.llm.generate([[5, 1 << 20]], GREEDY)
        with self.assertRaisesRegex(ValueError, "not offered"):
            self.llm.generate("a", SamplingParams(bad_words=["x"]))
        with self.assertRaisesRegex(ValueError, 'neither "prompt" nor'):
            self.llm.generate({}, GREEDY)
        self.assertTrue(issubclass(octavo.Error, RuntimeError))

    def test_threads_share_it(self):
        wanted = tokens_and_logprobs(self.llm.generate("Once upon a time", GREEDY))
        found = [None] * 4

        def run(i):
            found[i] = tokens_and_logprobs(self.llm.generate("Once upon a time", GREEDY))

        threads = [threading.Thread(target=run, args=(i,)) for i in range(len(found))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(found, [wanted] * 4)

    def test_the_gil_is_free_while_it_generates(self):
        ticks = []
        done = threading.Event()

        def tick():
            while not done.is_set():
                ticks.append(None)
                time.sleep(0.001)

        thread = threading.Thread(target=tick)
        thread.start()
        self.llm.generate(["Once upon a time"] * 8, SamplingParams(max_tokens=100, ignore_eos=True, seed=1))
        done.set()
        thread.join()
        self.assertGreater(len(ticks), 5)

    def test_ctrl_c_ends_the_requests(self):
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        with self.assertRaises(KeyboardInterrupt):
            while True:  # the signal finds one of them running
                self.llm.generate(["Once upon a time"] * 16, SamplingParams(max_tokens=240, ignore_eos=True))
        for _ in range(500):  # the engine hears of it between two steps
            metrics = self.llm.metrics()
            if metrics["running"] + metrics["waiting"] == 0:
                break
            time.sleep(0.01)
        self.assertEqual((metrics["running"], metrics["waiting"]), (0, 0))
        self.assertEqual(len(self.llm.generate("a", GREEDY)[0].outputs[0].token_ids), 12)


class Closing(unittest.TestCase):
    def test_closed_is_said(self):
        with LLM(ABACUS, **OPTIONS) as llm:
            tokenizer = llm.get_tokenizer()
        with self.assertRaisesRegex(octavo.Error, "closed"):
            llm.generate("a")
        with self.assertRaisesRegex(octavo.Error, "closed"):
            tokenizer.encode("a")


class Weights(unittest.TestCase):
    def checksums(self, weights, quantization):
        with LLM(ABACUS, quantization=quantization, **OPTIONS) as llm:
            llm.update_weights(weights, dtype="bfloat16")
            return llm.weight_checksums(), tokens_and_logprobs(llm.generate("Once upon a time", GREEDY))

    def changed(self):
        weights = bf16_weights()
        name = "model.layers.2.mlp.down_proj.weight"
        values = (weights[name].astype(np.uint32) << 16).view(np.float32) * np.float32(1.5)
        weights[name] = (values.view(np.uint32) >> 16).astype(np.uint16)
        return weights

    def test_after_an_update_it_is_a_fresh_model(self):
        weights = self.changed()
        with tempfile.TemporaryDirectory() as folder:
            for file in ABACUS.iterdir():
                if file.name != "model.safetensors":
                    (pathlib.Path(folder) / file.name).write_bytes(file.read_bytes())
            blob, header, at = [], {}, 0
            for name, values in weights.items():
                header[name] = {"dtype": "BF16", "shape": list(values.shape), "data_offsets": [at, at + values.nbytes]}
                blob.append(values.tobytes())
                at += values.nbytes
            text = json.dumps(header).encode()
            text += b" " * (-len(text) % 8)
            (pathlib.Path(folder) / "model.safetensors").write_bytes(
                len(text).to_bytes(8, "little") + text + b"".join(blob))
            for quantization in ("fp8_block", "fp8_channel", "fp8"):
                with LLM(folder, quantization=quantization, **OPTIONS) as fresh:
                    wanted = fresh.weight_checksums(), tokens_and_logprobs(fresh.generate("Once upon a time", GREEDY))
                self.assertEqual(self.checksums(weights, quantization), wanted, quantization)
                # Another order, from a generator.
                self.assertEqual(self.checksums(reversed(list(weights.items())), quantization), wanted, quantization)
            with LLM(ABACUS, **OPTIONS) as llm:
                llm.update_weights_from_path(folder, version="path")
                self.assertEqual(llm.weight_version, "path")

    def test_whole_or_nothing(self):
        weights = bf16_weights()
        with LLM(ABACUS, quantization="fp8_channel", **OPTIONS) as llm:
            before = llm.weight_checksums()
            missing = dict(list(self.changed().items())[:-1])
            with self.assertRaisesRegex(octavo.Error, list(weights)[-1]):
                llm.update_weights(missing, dtype="bfloat16")

            def breaks_off():
                yield from list(self.changed().items())[:20]
                raise OSError("the trainer is gone")

            with self.assertRaisesRegex(OSError, "the trainer is gone"):
                llm.update_weights(breaks_off(), dtype="bfloat16")
            with self.assertRaisesRegex((octavo.Error, ValueError), "model.nrm.weight"):
                llm.update_weights({"model.nrm.weight": weights["model.norm.weight"]}, dtype="bfloat16", partial=True)
            with self.assertRaisesRegex(ValueError, "^model.norm.weight: the tensor is not contiguous"):
                llm.update_weights({"model.norm.weight": np.ones((256, 2), np.float32)[:, 0]}, partial=True)
            with self.assertRaisesRegex((octavo.Error, ValueError), "model.norm.weight"):  # integers mean nothing untold
                llm.update_weights({"model.norm.weight": weights["model.norm.weight"]}, partial=True)
            with self.assertRaisesRegex(TypeError, "^model.norm.weight: list is no tensor"):
                llm.update_weights({"model.norm.weight": [1.0] * 256}, partial=True)
            with self.assertRaisesRegex(ValueError, "no policy"):
                llm.update_weights({"model.norm.weight": np.ones(256, np.float32)}, partial=True, policy="now")
            self.assertEqual(llm.weight_checksums(), before)
            self.assertEqual((llm.weight_version, llm.weight_version_number), ("default", 1))
            summary = llm.update_weights({"model.norm.weight": np.ones(256, np.float32)}, partial=True, version="ones")
            self.assertEqual((summary["tensors"], llm.weight_version, llm.weight_version_number), (1, "ones", 2))
            after = llm.weight_checksums()
            self.assertEqual([n for n in before if before[n] != after[n]], ["model.norm.weight"])

    def test_versions_of_tokens(self):
        with LLM(ABACUS, **OPTIONS) as llm:
            llm.update_weights({"model.norm.weight": np.ones(256, np.float32)}, partial=True, version="s1")
            [request] = llm.generate("a", GREEDY)
            self.assertEqual(request.outputs[0].weight_versions, [(2, "s1", 0, 12)])

    def test_sleep(self):
        with LLM(ABACUS, **OPTIONS) as llm:
            wanted = llm.generate("Once upon a time", GREEDY)[0].outputs[0].token_ids
            llm.sleep()
            llm.wake_up()
            self.assertEqual(llm.generate("Once upon a time", GREEDY)[0].outputs[0].token_ids, wanted)
            with self.assertRaisesRegex(ValueError, "level 2"):
                llm.sleep(level=2)


class Arrays(unittest.TestCase):
    def setUp(self):
        self.values = np.random.default_rng(7).standard_normal((96, 160)).astype(np.float32)

    def test_nothing_is_copied(self):
        for dtype in (np.float32, np.float16):
            values = self.values.astype(dtype)
            self.assertEqual(_octavo.Tensor(values).data_ptr, values.ctypes.data)
        bits = self.values.view(np.uint16)[:, ::2].copy()
        seen = octavo.arrays.view(bits, "bfloat16")
        self.assertEqual((seen.data_ptr, seen.dtype, seen.shape), (bits.ctypes.data, "BF16", (96, 160)))
        codes, scales = octavo.encode(self.values, "block", format="fp8")
        self.assertEqual(np.asarray(codes).ctypes.data, codes.data_ptr)
        self.assertEqual(np.from_dlpack(scales).ctypes.data, scales.data_ptr)
        self.assertEqual((codes.dtype, codes.shape, codes.nbytes), ("F8_E4M3", (96, 160), 96 * 160))
        self.assertEqual((scales.dtype, scales.shape), ("F32", (1, 2)))

    def test_memory_lives_as_long_as_its_views(self):
        view = np.asarray(octavo.encode(self.values)[0])
        other = np.from_dlpack(octavo.encode(self.values, "block", format="fp8")[1])
        capsule = octavo.encode(self.values)[0].__dlpack__()  # nobody takes it
        wanted, scale = view.copy(), other.copy()
        del capsule
        gc.collect()
        [octavo.encode(np.zeros((96, 160), np.float32)) for _ in range(20)]
        np.testing.assert_array_equal(view, wanted)
        np.testing.assert_array_equal(other, scale)
        self.assertFalse(view.flags.writeable)

    def test_the_writer_of_a_tensor_lets_it_go(self):
        values = self.values.copy()
        count = sys.getrefcount(values)
        seen = _octavo.Tensor(values)
        self.assertGreater(sys.getrefcount(values), count)
        del seen
        self.assertEqual(sys.getrefcount(values), count)

    def test_dlpack_of_others(self):
        class OnlyDlpack:
            def __init__(self, array, device=(1, 0)):
                self.array, self.device = array, device

            def __dlpack__(self, **options):
                return self.array.__dlpack__()

            def __dlpack_device__(self):
                return self.device

        seen = _octavo.Tensor(OnlyDlpack(self.values))
        self.assertEqual((seen.data_ptr, seen.dtype, seen.shape), (self.values.ctypes.data, "F32", (96, 160)))
        with self.assertRaisesRegex(ValueError, "not contiguous"):
            _octavo.Tensor(OnlyDlpack(self.values.T))
        with self.assertRaisesRegex(ValueError, "another device"):
            _octavo.Tensor(OnlyDlpack(self.values, (2, 0)))
        part = self.values[16:32]
        seen = _octavo.Tensor(OnlyDlpack(part))
        self.assertEqual(ctypes.string_at(seen.data_ptr, seen.nbytes), part.tobytes())

    def test_codes_against_numpy(self):
        # A row whose largest magnitude is 448: scale 1, and values that E4M3 has stay what they are.
        row = np.array([[448, 1, -2, 0, 0.015625, -240, 0.5, 3.5]], np.float32)
        codes, scales = octavo.encode(row, "dynamic", scale_dtype="f32")
        self.assertEqual(np.asarray(scales).tolist(), [[1.0]])
        self.assertEqual(np.asarray(codes).tolist(), [[0x7E, 0x38, 0xC0, 0x00, 0x08, 0xF7, 0x30, 0x46]])

    def test_mistakes(self):
        with self.assertRaisesRegex(ValueError, "dynmic: unknown"):
            octavo.encode(self.values, "dynmic")
        with self.assertRaisesRegex(TypeError, "did you mean scale_dtype"):
            octavo.encode(self.values, scale_dtyp="f32")
        with self.assertRaisesRegex(ValueError, "1 dimensions"):
            octavo.encode(self.values[0])
        with self.assertRaisesRegex(ValueError, "not contiguous"):
            octavo.encode(self.values.T)
        with self.assertRaisesRegex(ValueError, "does not fit"):
            octavo.encode(self.values, source_dtype="bfloat16")
        bad = self.values.copy()
        bad[40, 3] = math.nan
        with self.assertRaisesRegex(octavo.Error, r"\[40, 3\] is NaN"):
            octavo.encode(bad)


class Folders(unittest.TestCase):
    def test_quantize_verify_and_encode_agree(self):
        with tempfile.TemporaryDirectory() as folder:
            source, output = os.path.join(folder, "bf16"), os.path.join(folder, "fp8")
            subprocess.run([MAKE_CHECKPOINT, "--out", source, "--hidden", "128", "--layers", "2"], check=True, capture_output=True)
            seen = []
            summary = octavo.quantize(source, output, scheme="block", progress=lambda done, total: seen.append((done, total)))
            self.assertGreater(summary["quantized"], 0)
            self.assertTrue(all(0 <= done <= total for done, total in seen))
            report = octavo.verify(output, against=source)
            self.assertTrue(report["ok"], report["violations"])
            before, after = (self.tensors(path) for path in (source, output))
            compared = 0
            for name, (dtype, shape, values) in before.items():
                if name + "_scale_inv" not in after:
                    continue
                codes, scales = octavo.encode(values.copy().view(np.uint16).reshape(shape), "block", source_dtype=dtype)
                self.assertEqual(np.asarray(codes).tobytes(), after[name][2].tobytes(), name)
                self.assertEqual(np.asarray(scales).tobytes(), after[name + "_scale_inv"][2].tobytes(), name)
                compared += 1
            self.assertEqual(compared, summary["quantized"])
            with self.assertRaisesRegex(TypeError, "did you mean scheme"):
                octavo.quantize(source, output, schema="block")
            with self.assertRaises(octavo.Error):
                octavo.verify(os.path.join(folder, "nothing"))
            # A broken scale is a violation, not an exception.
            [shard] = pathlib.Path(output).glob("*.safetensors")
            data = bytearray(shard.read_bytes())
            size = int.from_bytes(data[:8], "little")
            header = json.loads(data[8:8 + size])
            begin = next(t["data_offsets"][0] for n, t in header.items() if n.endswith("_scale_inv"))
            data[8 + size + begin:8 + size + begin + 4] = np.float32(np.inf).tobytes()
            shard.write_bytes(data)
            self.assertFalse(octavo.verify(output)["ok"])

    @staticmethod
    def tensors(folder):
        return {name: tensor for path in sorted(pathlib.Path(folder).glob("*.safetensors"))
                for name, tensor in read_safetensors(path).items()}


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
