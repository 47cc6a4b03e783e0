// Linear layers and attention of every instruction set this machine has. bytes_per_second counts the stored weights (or
// keys and values), items_per_second the multiply-adds. Names:
//   isa/weight/[n, k]/tokens                              one weight, again and again, on one thread
//   isa/layers/weight/model/linear/tokens/threads:count   the linears of a model's layers (q/k/v and gate/up together,
//   as
//                                                         the decoder runs them), one layer's weights after the
//                                                         other's, so many that no cache holds them
//   isa/experts/weight/tokens                             gate and up of a mixture: 128 experts of [768, 2048], 8 a
//   token isa/attention/cache/tokens
#include <benchmark/benchmark.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "octavo/backend/cpu/cpu_backend.h"
#include "octavo/base/cpu.h"
#include "octavo/base/machine.h"
#include "octavo/model/synthetic.h"
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

std::unique_ptr<backend::Backend> make_backend(Isa isa, int threads = 1) {
  return cpu::create_cpu_backend({isa, threads, Compute::kBF16});
}

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

std::vector<std::byte> random_weight(const Scheme& scheme, const Size& size) {
  if (!is_fp8(scheme.dtype)) return test::random_tensor(DType::kBF16, size.n * size.k, 1);
  test::Random random(1);
  std::vector<std::byte> bytes(size.n * size.k);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.next() & 0xBB);  // no NaN in any format
  return bytes;
}

std::unique_ptr<backend::LinearWeight> make_weight(backend::Backend& b, const Scheme& scheme, const Size& size,
                                                   const std::vector<std::byte>& bytes) {
  LinearSpec spec{.n = size.n, .k = size.k, .dtype = scheme.dtype, .input = scheme.input};
  if (is_fp8(scheme.dtype)) {
    spec.block_n = scheme.block == 0 ? 1 : scheme.block;
    spec.block_k = scheme.block == 0 ? size.k : scheme.block;
  }
  auto weight = b.create_linear(spec).value();
  b.pack(*weight, {0, size.n, 0, size.k}, bytes);
  return weight;
}

void linear(benchmark::State& state, Isa isa, const Scheme& scheme, const Size& size, std::uint64_t tokens) {
  const auto b = make_backend(isa);
  const auto weight = make_weight(*b, scheme, size, random_weight(scheme, size));
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

// The linears of one kind in a model's layers; those of a layer read one input.
struct LayerLinears {
  std::string name;
  std::uint64_t k = 0;
  std::vector<std::uint64_t> n;
  std::uint64_t outputs() const { return std::accumulate(n.begin(), n.end(), std::uint64_t{0}); }
};

std::vector<LayerLinears> layer_linears(const model::DecoderConfig& c) {
  return {{"qkv", c.hidden, {c.q_size(), c.kv_size(), c.kv_size()}},
          {"o", c.q_size(), {c.hidden}},
          {"gate_up", c.hidden, {c.intermediate, c.intermediate}},
          {"down", c.intermediate, {c.hidden}}};
}

// So many layers' weights of one kind that no cache holds them, and the backend that runs them. The last ones made are
// kept: to make them takes longer than to measure.
struct Layers {
  std::unique_ptr<backend::Backend> backend;
  std::vector<std::vector<std::unique_ptr<backend::LinearWeight>>> weights;
  std::uint64_t layer_bytes = 0;
};

const Layers& make_layers(Isa isa, const Scheme& scheme, const LayerLinears& linears, int threads) {
  static Layers made;
  static std::string made_for;
  std::string wanted =
      fmt::format("{} {} {} {} {}", isa_name(isa), scheme.name, linears.k, fmt::join(linears.n, ","), threads);
  if (made_for == wanted) return made;
  made = {};
  made.backend = make_backend(isa, threads);
  constexpr std::uint64_t kLeast = 512ull << 20;
  const std::uint64_t beyond_caches = std::max(kLeast, 2 * read_machine().largest_cache());
  const std::vector<std::byte> bytes =
      random_weight(scheme, {*std::max_element(linears.n.begin(), linears.n.end()), linears.k});
  for (std::uint64_t total = 0; total < beyond_caches; total += made.layer_bytes) {
    made.layer_bytes = 0;
    auto& layer = made.weights.emplace_back();
    for (const std::uint64_t n : linears.n) {
      layer.push_back(make_weight(*made.backend, scheme, {n, linears.k}, bytes));
      made.layer_bytes += layer.back()->resident_bytes();
    }
  }
  made_for = std::move(wanted);
  return made;
}

void layers(benchmark::State& state, Isa isa, const Scheme& scheme, const LayerLinears& linears, std::uint64_t tokens,
            int threads) {
  const Layers& made = make_layers(isa, scheme, linears, threads);
  backend::Backend* const b = made.backend.get();
  std::uint64_t visited = 0;
  const auto x = make_activations(*b, tokens, linears.k);
  auto out = b->create_buffer(tokens * linears.outputs()).value();
  for (auto _ : state) {
    std::vector<const backend::LinearWeight*> layer;
    for (const auto& weight : made.weights[visited++ % made.weights.size()]) layer.push_back(weight.get());
    b->linear(*x, layer, out->matrix(tokens, linears.outputs()));
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(made.layer_bytes));
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(tokens * linears.outputs() * linears.k));
}

void experts(benchmark::State& state, Isa isa, const Scheme& scheme, std::uint64_t tokens) {
  constexpr std::uint64_t kExperts = 128, kChosen = 8, kInner = 768, kHidden = 2048;
  const Layers* const made =
      &make_layers(isa, scheme, {"experts", kHidden, std::vector<std::uint64_t>(2 * kExperts, kInner)}, 1);
  test::Random random(1);
  std::vector<std::vector<std::int32_t>> rows_of(kExperts);
  for (std::uint64_t t = 0; t < tokens; ++t) {
    const std::uint64_t first = random.next();
    for (std::uint64_t i = 0; i < kChosen; ++i) {
      rows_of[(first + i * 37) % kExperts].push_back(static_cast<std::int32_t>(t));
    }
  }
  std::vector<std::int32_t> rows;
  std::vector<std::uint64_t> begins = {0};
  std::uint64_t used = 0;
  for (const auto& of : rows_of) {
    rows.insert(rows.end(), of.begin(), of.end());
    begins.push_back(rows.size());
    used += of.empty() ? 0 : 1;
  }
  const auto x = make_activations(*made->backend, tokens, kHidden);
  auto out = made->backend->create_buffer(rows.size() * 2 * kInner).value();
  std::uint64_t visited = 0;
  for (auto _ : state) {
    const auto& layer = made->weights[visited++ % made->weights.size()];
    std::vector<const backend::LinearWeight*> weights;
    for (const auto& weight : layer) weights.push_back(weight.get());
    std::vector<backend::ExpertRows> groups;
    for (std::uint64_t e = 0; e < kExperts; ++e) {
      groups.push_back({std::span(weights).subspan(2 * e, 2), begins[e], begins[e + 1]});
    }
    made->backend->linear_experts(*x, rows, groups, out->matrix(rows.size(), 2 * kInner));
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(made->layer_bytes / kExperts * used));
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(rows.size() * 2 * kInner * kHidden));
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
    for (const Scheme& scheme : kSchemes) {
      for (const std::string& model : model::synthetic_names()) {
        for (const LayerLinears& linears : layer_linears(model::synthetic_config(model).value())) {
          for (const int threads : {1, 2}) {
            for (const std::uint64_t tokens : {1, 3, 8, 17, 128, 513}) {
              const std::string name = fmt::format("{}layers/{}/{}/{}/{}/threads:{}", prefix, scheme.name, model,
                                                   linears.name, tokens, threads);
              benchmark::RegisterBenchmark(
                  name.c_str(), [=](benchmark::State& state) { layers(state, isa, scheme, linears, tokens, threads); })
                  ->Unit(benchmark::kMicrosecond)
                  ->UseRealTime();
            }
          }
        }
      }
    }
    for (const Scheme& scheme : kSchemes) {
      for (const std::uint64_t tokens : {1, 8, 64, 512}) {
        const std::string name = fmt::format("{}experts/{}/{}", prefix, scheme.name, tokens);
        benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
          experts(state, isa, scheme, tokens);
        })->Unit(benchmark::kMicrosecond);
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
