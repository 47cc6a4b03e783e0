// make_checkpoint: writes a synthetic Llama checkpoint with weights that look like weights (normal, rare outliers), or
// one giant linear, or the headers alone of a published model. For the demo without a network, for memory tests and for
// benchmarks. Streams: memory stays small.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "octavo/base/file.h"
#include "octavo/base/json.h"
#include "octavo/checkpoint/safetensors.h"
#include "tests/support/published_model.h"
#include "tests/support/random_tensor.h"

namespace octavo {
namespace {

struct Options {
  std::string out;
  std::uint64_t layers = 4, hidden = 256, ffn = 768, heads = 4, kv_heads = 2, vocab = 1024;
  std::uint64_t giant_rows = 0, giant_cols = 0;  // when set: only one linear of this shape
  std::uint64_t shard_bytes = 4'000'000'000;
  std::uint64_t seed = 1;
  std::string dtype = "bf16";
  std::string headers_of;  // a config.json
  std::size_t shards = 163;
  bool fp8 = false;
};

DType dtype_of(const Options& o) {
  return o.dtype == "f32" ? DType::kF32 : o.dtype == "f16" ? DType::kF16 : DType::kBF16;
}

std::vector<TensorEntry> tensors_of(const Options& o) {
  std::vector<TensorEntry> out;
  const auto add = [&](const std::string& name, Shape shape) {
    out.push_back({name, dtype_of(o), std::move(shape), 0, 0});
  };
  if (o.giant_rows > 0) {
    add("model.layers.0.mlp.down_proj.weight", {o.giant_rows, o.giant_cols});
    return out;
  }
  const std::uint64_t head_dim = o.hidden / o.heads;
  add("model.embed_tokens.weight", {o.vocab, o.hidden});
  add("model.norm.weight", {o.hidden});
  for (std::uint64_t i = 0; i < o.layers; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i);
    add(layer + "input_layernorm.weight", {o.hidden});
    add(layer + "post_attention_layernorm.weight", {o.hidden});
    add(layer + "self_attn.q_proj.weight", {o.heads * head_dim, o.hidden});
    add(layer + "self_attn.k_proj.weight", {o.kv_heads * head_dim, o.hidden});
    add(layer + "self_attn.v_proj.weight", {o.kv_heads * head_dim, o.hidden});
    add(layer + "self_attn.o_proj.weight", {o.hidden, o.heads * head_dim});
    add(layer + "mlp.gate_proj.weight", {o.ffn, o.hidden});
    add(layer + "mlp.up_proj.weight", {o.ffn, o.hidden});
    add(layer + "mlp.down_proj.weight", {o.hidden, o.ffn});
  }
  return out;
}

std::string config_of(const Options& o) {
  const Json config = {{"architectures", {"LlamaForCausalLM"}},
                       {"hidden_act", "silu"},
                       {"hidden_size", o.hidden},
                       {"intermediate_size", o.ffn},
                       {"max_position_embeddings", 2048},
                       {"model_type", "llama"},
                       {"num_attention_heads", o.heads},
                       {"num_hidden_layers", o.giant_rows > 0 ? 1 : o.layers},
                       {"num_key_value_heads", o.kv_heads},
                       {"rms_norm_eps", 1e-05},
                       {"rope_theta", 10000.0},
                       {"tie_word_embeddings", true},
                       {"torch_dtype", o.dtype == "f32"   ? "float32"
                                       : o.dtype == "f16" ? "float16"
                                                          : "bfloat16"},
                       {"vocab_size", o.vocab}};
  return config.dump(2) + "\n";
}

// Fills one tensor with a random stretch that repeats: a giant tensor need not cost a giant amount of arithmetic.
Status fill(File& file, const TensorEntry& tensor, std::uint64_t base, std::uint64_t seed) {
  constexpr std::uint64_t kStretch = 1u << 20;  // elements
  const std::uint64_t elements = std::min(kStretch, element_count(tensor.shape).value_or(0));
  const auto stretch = test::random_tensor(tensor.dtype, static_cast<std::size_t>(elements), seed);
  for (std::uint64_t at = 0; at < tensor.bytes(); at += stretch.size()) {
    const auto part = std::span(stretch).first(std::min<std::uint64_t>(stretch.size(), tensor.bytes() - at));
    OCTAVO_TRY(file.write_at(base + tensor.begin + at, part));
  }
  return {};
}

Status make(const Options& o) {
  const std::vector<TensorEntry> tensors = tensors_of(o);
  std::vector<std::vector<TensorEntry>> shards(1);
  std::uint64_t in_shard = 0, total = 0;
  for (const TensorEntry& tensor : tensors) {
    const std::uint64_t bytes = byte_count(tensor.dtype, tensor.shape).value_or(0);
    if (in_shard > 0 && in_shard + bytes > o.shard_bytes) {
      shards.emplace_back();
      in_shard = 0;
    }
    in_shard += bytes;
    total += bytes;
    shards.back().push_back(tensor);
  }
  const std::filesystem::path folder = o.out;
  std::error_code error;
  if (!std::filesystem::create_directories(folder, error)) return failure("{}: exists or cannot be made", o.out);
  std::map<std::string, std::string> weight_map;
  for (std::size_t s = 0; s < shards.size(); ++s) {
    const std::string name = shards.size() == 1 ? std::string("model.safetensors")
                                                : fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, shards.size());
    OCTAVO_ASSIGN(const std::string header, lay_out_safetensors(shards[s], {{"format", "pt"}}));
    OCTAVO_ASSIGN(File file, File::create(folder / name));
    OCTAVO_TRY(file.write_at(0, as_bytes(header)));
    for (std::size_t i = 0; i < shards[s].size(); ++i) {
      OCTAVO_TRY(fill(file, shards[s][i], header.size(), o.seed + s * 1'000'003 + i));
      weight_map.emplace(shards[s][i].name, name);
    }
    OCTAVO_TRY(file.close());
  }
  if (shards.size() > 1) {
    OCTAVO_TRY(write_text_file(folder / "model.safetensors.index.json", format_shard_index(total, weight_map)));
  }
  return write_text_file(folder / "config.json", config_of(o));
}

// A published model at full size, and no data: files with holes.
Status make_headers(const Options& o) {
  OCTAVO_ASSIGN(const std::string text, read_text_file(o.headers_of, std::uint64_t{1} << 26));
  OCTAVO_ASSIGN(Json config, parse_json(text, o.headers_of));
  if (!config.is_object()) return failure("{}: not an object", o.headers_of);
  OCTAVO_ASSIGN(std::vector<test::PublishedTensor> tensors, test::published_tensors(config));
  if (o.fp8) {
    tensors = test::as_block_fp8(tensors);
  } else {
    config.erase("quantization_config");
  }
  return test::write_header_only(o.out, config, tensors, o.shards);
}

}  // namespace
}  // namespace octavo

int main(int argc, char** argv) {
  octavo::Options o;
  std::string giant;
  CLI::App app{"Writes a synthetic Llama checkpoint (or one giant linear) with weight-like random values."};
  app.add_option("--out", o.out, "folder to write; must not exist")->required();
  app.add_option("--layers", o.layers);
  app.add_option("--hidden", o.hidden);
  app.add_option("--ffn", o.ffn);
  app.add_option("--heads", o.heads)->check(CLI::PositiveNumber);
  app.add_option("--kv-heads", o.kv_heads);
  app.add_option("--vocab", o.vocab);
  app.add_option("--dtype", o.dtype)->check(CLI::IsMember({"bf16", "f16", "f32"}));
  app.add_option("--shard-bytes", o.shard_bytes, "start a new shard beyond this size");
  app.add_option("--seed", o.seed);
  app.add_option("--giant", giant, "ROWSxCOLUMNS: only one linear of this shape");
  app.add_option("--headers-of", o.headers_of, "config.json of a published model: its tensors in BF16, without data");
  app.add_option("--shards", o.shards, "with --headers-of: how many")->check(CLI::PositiveNumber);
  app.add_flag("--fp8", o.fp8, "with --headers-of: as DeepSeek releases it, 128x128 blocks");
  CLI11_PARSE(app, argc, argv);
  if (!giant.empty() && std::sscanf(giant.c_str(), "%lux%lu", &o.giant_rows, &o.giant_cols) != 2) {
    std::fprintf(stderr, "make_checkpoint: --giant %s: must be ROWSxCOLUMNS\n", giant.c_str());
    return 2;
  }
  const octavo::Status status = o.headers_of.empty() ? octavo::make(o) : octavo::make_headers(o);
  if (status.ok()) return 0;
  std::fprintf(stderr, "make_checkpoint: %s\n", status.error().message.c_str());
  return 1;
}
