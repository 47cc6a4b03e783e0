# A thin front for people; CMake does the work. `make demo` and `make test` install what is missing first.
.PHONY: help setup build demo test test-large test-exhaustive dev tsan soak fuzz interop bench format tidy clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup:  ## install the Debian packages that are missing (root or sudo)
	@tools/setup.sh

build: setup  ## build/release/octavo
	@cmake --preset release -DOCTAVO_TESTS=OFF --log-level=WARNING
	@cmake --build --preset release --target octavo make_checkpoint

demo: build  ## take a real 135M-parameter chat model to FP8, prove it, show what it cost
	@tools/demo.sh

test: setup  ## build and run every test
	@cmake --preset release -DOCTAVO_TESTS=ON --log-level=WARNING
	@cmake --build --preset release
	@ctest --preset release -j 2

test-large: build  ## memory stays flat on an 8 GB tensor (needs 13 GB of disk)
	@tools/large_tensor.sh

test-exhaustive: test  ## all 2^32 FP32 inputs of every format and ISA (minutes)
	@build/release/test_fp8 --gtest_also_run_disabled_tests --gtest_filter='*DISABLED*'
	@build/release/test_backend --gtest_also_run_disabled_tests --gtest_filter='*DISABLED*'

dev: setup  ## the suite under ASan and UBSan
	@cmake --preset dev --log-level=WARNING && cmake --build --preset dev && ctest --preset dev -j 2

tsan: setup  ## the suite under the thread sanitizer
	@cmake --preset tsan --log-level=WARNING && cmake --build --preset tsan && ctest --preset tsan -j 2

soak: test  ## ten minutes of HTTP under load, eight streams against one, 500 weight updates of every scheme in a row
	@tests/soak/http_soak.py build/release/octavo --seconds 600 --asks 144
	@[ -d build/soak/model ] || build/release/make_checkpoint --out build/soak/model --layers 28 --hidden 1024 --ffn 3072 \
	  --heads 16 --kv-heads 8 --vocab 151936
	@tests/soak/http_soak.py build/release/octavo --throughput build/soak/model
	@build/release/test_rollout --gtest_also_run_disabled_tests --gtest_filter='*DISABLED*'

fuzz:  ## run every fuzz target briefly (clang)
	@tools/setup.sh clang libclang-rt-14-dev
	@tools/fuzz.sh

interop: build  ## open our outputs with transformers, compressed-tensors, vLLM; compare with llm-compressor; openai, curl and lm_eval talk to octavo serve (venvs from PyPI)
	@tools/interop.sh

bench:  ## benchmarks of the kernels
	@tools/setup.sh libbenchmark-dev
	@cmake --preset bench --log-level=WARNING && cmake --build --preset bench && build/bench/encode_bench

format:  ## clang-format everything
	@tools/setup.sh clang-format
	@git ls-files '*.h' '*.cc' | xargs clang-format -i

tidy:  ## clang-tidy on the library and the command
	@tools/setup.sh clang clang-tidy
	@cmake --preset tidy --log-level=WARNING
	@git ls-files 'octavo/*.cc' 'cli/*.cc' 'tools/*.cc' | xargs -P 2 -n 4 clang-tidy -p build/tidy --quiet

clean:  ## remove build/
	@rm -rf build
