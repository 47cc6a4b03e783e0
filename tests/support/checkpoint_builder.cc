// Writing small model folders, and a decoder with random weights.
#include "tests/support/checkpoint_builder.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "tests/support/random_tensor.h"
#include "tests/support/temp_dir.h"

namespace octavo::test {
namespace {

[[noreturn]] void mistake(const std::string& what) {
  fmt::print(stderr, "CheckpointBuilder: {}\n", what);
  std::abort();
}

std::string_view view(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string safetensors(const std::vector<const BuiltTensor*>& tensors) {
  Json header = Json::object();
  header["__metadata__"] = {{"format", "pt"}};
  std::string data;
  for (const BuiltTensor* t : tensors) {
    const std::size_t begin = data.size();
    data += view(t->bytes);
    header[t->name] = {{"dtype", dtype_name(t->dtype)}, {"shape", t->shape}, {"data_offsets", {begin, data.size()}}};
  }
  std::string json = header.dump();
  json.resize((json.size() + 7) / 8 * 8, ' ');
  std::string out;
  for (int i = 0; i < 8; ++i) out += static_cast<char>((json.size() >> (8 * i)) & 0xFF);
  return out + json + data;
}

}  // namespace

CheckpointBuilder& CheckpointBuilder::add(std::string name, DType dtype, Shape shape, std::vector<std::byte> bytes,
                                          std::size_t shard) {
  if (has(name)) mistake(fmt::format("{} is there already", name));
  if (byte_count(dtype, shape) != bytes.size()) {
    mistake(fmt::format("{}: {} bytes for {} {}", name, bytes.size(), dtype_name(dtype), shape_string(shape)));
  }
  tensors_.push_back({std::move(name), dtype, std::move(shape), std::move(bytes), shard});
  return *this;
}

CheckpointBuilder& CheckpointBuilder::add_bf16(std::string name, Shape shape, std::span<const std::uint16_t> bits,
                                               std::size_t shard) {
  return add(std::move(name), DType::kBF16, std::move(shape), bytes_of(std::vector(bits.begin(), bits.end())), shard);
}

CheckpointBuilder& CheckpointBuilder::add_f32(std::string name, Shape shape, std::span<const float> values,
                                              std::size_t shard) {
  return add(std::move(name), DType::kF32, std::move(shape), bytes_of(std::vector(values.begin(), values.end())),
             shard);
}

CheckpointBuilder& CheckpointBuilder::add_random(std::string name, DType dtype, Shape shape, std::uint64_t seed,
                                                 std::size_t shard) {
  const auto count = element_count(shape);
  if (!count) mistake(fmt::format("{}: shape {} overflows", name, shape_string(shape)));
  auto bytes = random_tensor(dtype, static_cast<std::size_t>(*count), seed);
  return add(std::move(name), dtype, std::move(shape), std::move(bytes), shard);
}

bool CheckpointBuilder::has(std::string_view name) const {
  return std::any_of(tensors_.begin(), tensors_.end(), [&](const BuiltTensor& t) { return t.name == name; });
}

BuiltTensor& CheckpointBuilder::at(std::string_view name) {
  const auto it = std::find_if(tensors_.begin(), tensors_.end(), [&](const BuiltTensor& t) { return t.name == name; });
  if (it == tensors_.end()) mistake(fmt::format("no tensor {}", name));
  return *it;
}

void CheckpointBuilder::remove(std::string_view name) {
  tensors_.erase(tensors_.begin() + (&at(name) - tensors_.data()));
}

void CheckpointBuilder::rename(std::string_view from, std::string to) { at(from).name = std::move(to); }

void CheckpointBuilder::spread(std::size_t shards) {
  for (std::size_t i = 0; i < tensors_.size(); ++i) tensors_[i].shard = i % shards;
}

std::size_t CheckpointBuilder::shard_count() const {
  std::size_t count = 1;
  for (const BuiltTensor& t : tensors_) count = std::max(count, t.shard + 1);
  return count;
}

std::string CheckpointBuilder::shard_name(std::size_t shard) const {
  const std::size_t count = shard_count();
  return count == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, count);
}

Json CheckpointBuilder::correct_index() const {
  std::size_t total = 0;
  Json map = Json::object();
  for (const BuiltTensor& t : tensors_) {
    total += t.bytes.size();
    map[t.name] = shard_name(t.shard);
  }
  return {{"metadata", {{"total_size", total}}}, {"weight_map", std::move(map)}};
}

std::filesystem::path CheckpointBuilder::write(const std::filesystem::path& dir) const {
  std::filesystem::create_directories(dir);
  for (std::size_t shard = 0; shard < shard_count(); ++shard) {
    std::vector<const BuiltTensor*> tensors;
    for (const BuiltTensor& t : tensors_) {
      if (t.shard == shard) tensors.push_back(&t);
    }
    write_file(dir / shard_name(shard), safetensors(tensors));
  }
  if (index_ || shard_count() > 1) {
    write_file(dir / "model.safetensors.index.json", index_.value_or(correct_index()).dump(2));
  }
  if (!config_.is_null()) write_file(dir / "config.json", config_.dump(2) + "\n");
  for (const auto& [name, text] : files_) write_file(dir / name, text);
  return dir;
}

Checkpoint CheckpointBuilder::open(const std::filesystem::path& dir) const {
  auto checkpoint = Checkpoint::open(write(dir));
  if (!checkpoint.ok()) mistake(checkpoint.error().message);
  return std::move(checkpoint).value();
}

CheckpointBuilder tiny_model(const TinyModel& model) {
  CheckpointBuilder out;
  std::uint64_t seed = model.seed * 1'000'000;
  const auto linear = [&](std::string name, std::uint64_t n, std::uint64_t k) {
    out.add_random(std::move(name) + ".weight", model.dtype, {n, k}, ++seed);
  };
  const auto norm = [&](std::string name, std::uint64_t n) {
    out.add_random(std::move(name) + ".weight", model.dtype, {n}, ++seed);
  };
  const auto mlp = [&](const std::string& prefix) {
    linear(prefix + "gate_proj", model.intermediate, model.hidden);
    linear(prefix + "up_proj", model.intermediate, model.hidden);
    linear(prefix + "down_proj", model.hidden, model.intermediate);
  };
  linear("model.embed_tokens", model.vocab, model.hidden);
  for (std::uint64_t layer = 0; layer < model.layers; ++layer) {
    const std::string prefix = fmt::format("model.layers.{}.", layer);
    norm(prefix + "input_layernorm", model.hidden);
    linear(prefix + "self_attn.q_proj", model.heads * model.head_dim, model.hidden);
    linear(prefix + "self_attn.k_proj", model.kv_heads * model.head_dim, model.hidden);
    linear(prefix + "self_attn.v_proj", model.kv_heads * model.head_dim, model.hidden);
    linear(prefix + "self_attn.o_proj", model.hidden, model.heads * model.head_dim);
    norm(prefix + "post_attention_layernorm", model.hidden);
    if (model.experts == 0) {
      mlp(prefix + "mlp.");
      continue;
    }
    linear(prefix + "mlp.gate", model.experts, model.hidden);
    for (std::uint64_t e = 0; e < model.experts; ++e) mlp(fmt::format("{}mlp.experts.{}.", prefix, e));
  }
  norm("model.norm", model.hidden);
  if (!model.tied) linear("lm_head", model.vocab, model.hidden);

  const char* dtype = model.dtype == DType::kF32 ? "float32" : model.dtype == DType::kF16 ? "float16" : "bfloat16";
  out.config() = {{"architectures", {"TinyForCausalLM"}},
                  {"model_type", model.model_type},
                  {"hidden_size", model.hidden},
                  {"intermediate_size", model.intermediate},
                  {"num_hidden_layers", model.layers},
                  {"num_attention_heads", model.heads},
                  {"num_key_value_heads", model.kv_heads},
                  {"head_dim", model.head_dim},
                  {"vocab_size", model.vocab},
                  {"rms_norm_eps", 1e-6},
                  {"tie_word_embeddings", model.tied},
                  {"torch_dtype", dtype}};
  if (model.experts != 0) out.config()["num_experts"] = model.experts;
  return out;
}

}  // namespace octavo::test
