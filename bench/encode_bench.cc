// Encode, decode and amax of every instruction set this machine has, beside a plain loop that reads 2 bytes and
// writes 1. bytes_per_second counts the bytes read. "cache" works on 64 KiB of BF16, "memory" on 128 MiB.
#include "bench/encode_bench.h"

#include <benchmark/benchmark.h>

#include <cstdint>
#include <string>
#include <vector>

#include "octavo/backend/cpu/encode.h"
#include "octavo/base/cpu.h"
#include "tests/support/random_tensor.h"

namespace octavo {
namespace {

struct Size {
  const char* name;
  std::size_t count;  // values
};
constexpr Size kSizes[] = {{"cache", std::size_t{32} << 10}, {"memory", std::size_t{64} << 20}};
constexpr float kScale = 0.0123f;

// One input for all benchmarks of an element type: a megabyte of random values, repeated.
template <typename T>
std::vector<T> repeated(const std::vector<T>& values, std::size_t count) {
  std::vector<T> all(count);
  for (std::size_t i = 0; i < count; ++i) all[i] = values[i % values.size()];
  return all;
}
std::vector<std::uint16_t> bf16_input(std::size_t count) { return repeated(test::random_bf16(1 << 19, 1), count); }
std::vector<std::uint16_t> f16_input(std::size_t count) { return repeated(test::random_f16(1 << 19, 1), count); }
std::vector<float> f32_input(std::size_t count) { return repeated(test::random_f32(1 << 18, 1), count); }
// Codes of a normal distribution.
std::vector<std::uint8_t> codes_input(std::size_t count) {
  const auto in = test::random_bf16(1 << 19, 1);
  std::vector<std::uint8_t> codes(in.size());
  cpu::encode_kernels(detect_isa()).encode_bf16[0](in.data(), codes.data(), in.size(), 0.0002f);
  return repeated(codes, count);
}

template <typename T, typename Kernel>
void run(benchmark::State& state, const std::vector<T>& in, Kernel kernel) {
  for (auto _ : state) {
    kernel(in.data(), in.size());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(in.size() * sizeof(T)));
}

template <typename T, typename Encode>
void run_encode(benchmark::State& state, const std::vector<T>& in, Encode encode) {
  std::vector<std::uint8_t> out(in.size());
  run(state, in, [&](const T* data, std::size_t n) { encode(data, out.data(), n, kScale); });
}

void register_all() {
  for (const Size& size : kSizes) {
    const std::size_t count = size.count;
    const auto add = [&](const std::string& name, auto body) {
      benchmark::RegisterBenchmark((name + "/" + size.name).c_str(), body);
    };
    add("plain_loop_2_to_1", [count](benchmark::State& state) {
      run_encode(state, bf16_input(count),
                 [](auto* in, auto* out, std::size_t n, float) { bench::plain_loop_2_to_1(in, out, n); });
    });
    add("plain_loop_1_to_2", [count](benchmark::State& state) {
      std::vector<std::uint16_t> out(count);
      run(state, codes_input(count), [&](auto* in, std::size_t n) { bench::plain_loop_1_to_2(in, out.data(), n); });
    });
    for (const Isa isa : kIsas) {
      if (!has_isa(isa)) continue;
      const cpu::EncodeKernels& kernels = cpu::encode_kernels(isa);
      const std::string suffix = "/" + std::string(isa_name(isa));
      for (const fp8::Format format : fp8::kFormats) {
        const auto row = static_cast<std::size_t>(format);
        add("encode_bf16_" + std::string(fp8::format_name(format)) + suffix,
            [=, &kernels](benchmark::State& state) { run_encode(state, bf16_input(count), kernels.encode_bf16[row]); });
      }
      const auto e4m3 = static_cast<std::size_t>(fp8::Format::kE4M3);
      add("encode_f16_e4m3" + suffix,
          [=, &kernels](benchmark::State& state) { run_encode(state, f16_input(count), kernels.encode_f16[e4m3]); });
      add("encode_f32_e4m3" + suffix,
          [=, &kernels](benchmark::State& state) { run_encode(state, f32_input(count), kernels.encode_f32[e4m3]); });
      add("decode_e4m3_to_bf16" + suffix, [=, &kernels](benchmark::State& state) {
        std::vector<std::uint16_t> out(count);
        run(state, codes_input(count),
            [&](auto* in, std::size_t n) { kernels.decode_to_bf16[e4m3](in, n, kScale, out.data()); });
      });
      add("decode_e4m3_to_f32" + suffix, [=, &kernels](benchmark::State& state) {
        std::vector<float> out(count);
        run(state, codes_input(count),
            [&](auto* in, std::size_t n) { kernels.decode_to_f32[e4m3](in, n, kScale, out.data()); });
      });
      add("amax_bits16" + suffix, [=, &kernels](benchmark::State& state) {
        run(state, bf16_input(count),
            [&](auto* in, std::size_t n) { benchmark::DoNotOptimize(kernels.amax_bits16(in, n)); });
      });
      add("amax_bits32" + suffix, [=, &kernels](benchmark::State& state) {
        run(state, f32_input(count),
            [&](auto* in, std::size_t n) { benchmark::DoNotOptimize(kernels.amax_bits32(in, n)); });
      });
      add("f32_to_bf16" + suffix, [=, &kernels](benchmark::State& state) {
        std::vector<std::uint16_t> out(count);
        run(state, f32_input(count), [&](auto* in, std::size_t n) { kernels.f32_to_bf16(in, out.data(), n); });
      });
    }
  }
}

}  // namespace

#if defined(__x86_64__)
#define OCTAVO_WIDEST __attribute__((target_clones("arch=skylake-avx512", "avx2", "default")))
#else
#define OCTAVO_WIDEST
#endif

OCTAVO_WIDEST void bench::plain_loop_2_to_1(const std::uint16_t* in, std::uint8_t* out, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<std::uint8_t>(in[i] >> 8);
}
OCTAVO_WIDEST void bench::plain_loop_4_to_1(const std::uint32_t* in, std::uint8_t* out, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<std::uint8_t>(in[i] >> 24);
}
OCTAVO_WIDEST void bench::plain_loop_1_to_2(const std::uint8_t* in, std::uint16_t* out, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<std::uint16_t>(in[i] << 8);
}

}  // namespace octavo

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  octavo::register_all();
  octavo::bench::register_pieces();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
