// Linear layers and attention of every instruction set this machine has, on one thread. bytes_per_second counts the
// stored weights (or keys and values), items_per_second the multiply-adds. Names: isa/weight/[n, k]/tokens.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "octavo/backend/cpu/cpu_backend.h"
#include "octavo/base/cpu.h"
#include "tests/support/random_tensor.h"

namespace octavo {
namespace {

using backend::Compute;
using backend::InputRounding;
using backend::LinearSpec;

struct Size {
  std::uint64_t n, k;
};
constexpr Size kSizes[] = {{1536, 576}, {4096, 4096}};  // SmolLM2-135M's up projection; a layer beyond the second cache
constexpr std::uint64_t kTokens[] = {1, 2, 3, 4, 5, 6, 8, 12, 17, 128, 513};

struct Scheme {
  const char* name;
  DType dtype;
  std::uint64_t block;  // 0: one scale a row
  InputRounding input;
};
const Scheme kSchemes[] = {
    {"bf16", DType::kBF16, 0, {}},
    {"e4m3_channel", DType::kF8E4M3, 0, {}},
    {"e4m3_block", DType::kF8E4M3, 128, {}},
    {"e4m3_block_w8a8", DType::kF8E4M3, 128, {.kind = InputRounding::Kind::kDynamicGroup, .group = 128}},
    {"e5m2_channel", DType::kF8E5M2, 0, {}},
    {"e4m3fnuz_channel", DType::kF8E4M3FNUZ, 0, {}},
};

std::unique_ptr<backend::Backend> make_backend(Isa isa) { return cpu::create_cpu_backend({isa, 1, Compute::kBF16}); }

// Activations of any values.
std::unique_ptr<backend::Activations> make_activations(backend::Backend& b, std::uint64_t rows, std::uint64_t cols) {
  auto buffer = b.create_buffer(rows * cols).value();
  auto weight = b.create_buffer(cols).value();
  b.upload(test::random_f32(rows * cols, 1), buffer->matrix(rows, cols));
  b.upload(test::random_f32(cols, 2), weight->matrix(1, cols));
  auto x = b.create_activations(rows, cols).value();
  b.rms_norm(buffer->matrix(rows, cols), *weight, 1e-5f, *x);
  return x;
}

void linear(benchmark::State& state, Isa isa, const Scheme& scheme, const Size& size, std::uint64_t tokens) {
  const auto b = make_backend(isa);
  LinearSpec spec{.n = size.n, .k = size.k, .dtype = scheme.dtype, .input = scheme.input};
  if (is_fp8(scheme.dtype)) {
    spec.block_n = scheme.block == 0 ? 1 : scheme.block;
    spec.block_k = scheme.block == 0 ? size.k : scheme.block;
  }
  auto weight = b->create_linear(spec).value();
  std::vector<std::byte> bytes = test::random_tensor(DType::kBF16, size.n * size.k, 1);
  if (is_fp8(scheme.dtype)) {
    test::Random random(1);
    bytes.resize(size.n * size.k);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.next() & 0xBB);  // no NaN in any format
  }
  b->pack(*weight, {0, size.n, 0, size.k}, bytes);
  const auto x = make_activations(*b, tokens, size.k);
  auto out = b->create_buffer(tokens * size.n).value();
  const backend::LinearWeight* const weights[] = {weight.get()};
  for (auto _ : state) {
    b->linear(*x, weights, out->matrix(tokens, size.n));
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(weight->resident_bytes()));
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(tokens * size.n * size.k));
}

// `tokens` queries at the end of `context` positions; 8 query heads, 2 key/value heads of 128.
void attention(benchmark::State& state, Isa isa, backend::KvDType dtype, std::uint64_t context, std::uint64_t tokens) {
  constexpr std::uint64_t kHeads = 8, kKvHeads = 2, kHead = 128, kBlock = 16;
  const auto b = make_backend(isa);
  backend::KvShape shape{1, kKvHeads, kHead, context / kBlock, kBlock, dtype, {}, {}};
  auto cache = b->create_kv_cache(shape).value();
  auto kv = b->create_buffer(context * kKvHeads * kHead).value();
  b->upload(test::random_f32(context * kKvHeads * kHead, 1), kv->matrix(context, kKvHeads * kHead));
  auto q = b->create_buffer(tokens * kHeads * kHead).value();
  b->upload(test::random_f32(tokens * kHeads * kHead, 2), q->matrix(tokens, kHeads * kHead));
  auto out = b->create_activations(tokens, kHeads * kHead).value();
  std::vector<std::int32_t> blocks(context / kBlock);
  std::iota(blocks.begin(), blocks.end(), 0);
  const backend::SequenceRows all[] = {{0, context, 0, blocks}};
  const backend::SequenceRows last[] = {{0, tokens, context - tokens, blocks}};
  const backend::Matrix keys = kv->matrix(context, kKvHeads * kHead);
  b->store_kv(keys, keys, all, 0, *cache);
  for (auto _ : state) {
    b->attention(q->matrix(tokens, kHeads * kHead), last, {kHeads, kKvHeads, kHead, 0.088f, 0}, 0, *cache, *out);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(shape.bytes()));
  const std::uint64_t seen = tokens * (2 * context - tokens + 1) / 2;
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(2 * seen * kHeads * kHead));
}

void register_all() {
  for (const Isa isa : kIsas) {
    if (!has_isa(isa)) continue;
    const std::string prefix = std::string(isa_name(isa)) + "/";
    for (const Scheme& scheme : kSchemes) {
      for (const Size& size : kSizes) {
        for (const std::uint64_t tokens : kTokens) {
          const std::string name = prefix + scheme.name + "/" + shape_string({size.n, size.k}) + "/";
          benchmark::RegisterBenchmark((name + std::to_string(tokens)).c_str(), [=](benchmark::State& state) {
            linear(state, isa, scheme, size, tokens);
          })->Unit(benchmark::kMicrosecond);
        }
      }
    }
    for (const backend::KvDType dtype :
         {backend::KvDType::kF32, backend::KvDType::kBF16, backend::KvDType::kFp8E4M3, backend::KvDType::kFp8E5M2}) {
      for (const std::uint64_t tokens : {std::uint64_t{1}, std::uint64_t{512}}) {
        const std::string name = prefix + "attention/" + std::string(kv_dtype_name(dtype)) + "/";
        benchmark::RegisterBenchmark((name + std::to_string(tokens)).c_str(), [=](benchmark::State& state) {
          attention(state, isa, dtype, 2048, tokens);
        })->Unit(benchmark::kMicrosecond);
      }
    }
  }
}

}  // namespace
}  // namespace octavo

int main(int argc, char** argv) {
  octavo::register_all();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
