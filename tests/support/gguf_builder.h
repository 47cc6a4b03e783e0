// Small GGUF files for tests: metadata and tensors appended in order, with code of its own so that the parser under
// test meets a stranger. Wrong on demand: raw bytes, offsets, counts and types can be forced.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace octavo::test {

class GgufBuilder {
 public:
  std::uint32_t version = 3;
  std::string magic = "GGUF";
  std::uint64_t alignment = 32;  // written as general.alignment when it is not 32
  // Forced header counts.
  std::optional<std::uint64_t> tensor_count, key_count;

  // Value types of the format.
  enum Type : std::uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };

  template <typename T>
  static std::string raw(T value) {
    std::string bytes(sizeof value, '\0');
    std::memcpy(bytes.data(), &value, sizeof value);
    return bytes;
  }
  static std::string text(std::string_view value) { return raw(std::uint64_t{value.size()}) + std::string(value); }

  // A key with its value as bytes.
  GgufBuilder& key(std::string_view name, std::uint32_t type, std::string_view value) {
    remove_key(name);
    keys_.push_back({std::string(name), type, std::string(value)});
    return *this;
  }
  GgufBuilder& twice(std::string_view name) {
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      if (keys_[i].name == name) return keys_.push_back(Key(keys_[i])), *this;
    }
    return *this;
  }
  GgufBuilder& remove_key(std::string_view name) {
    std::erase_if(keys_, [&](const Key& k) { return k.name == name; });
    return *this;
  }
  GgufBuilder& u32(std::string_view name, std::uint32_t value) { return key(name, kU32, raw(value)); }
  GgufBuilder& f32(std::string_view name, float value) { return key(name, kF32, raw(value)); }
  GgufBuilder& boolean(std::string_view name, bool value) { return key(name, kBool, raw(std::uint8_t{value})); }
  GgufBuilder& string(std::string_view name, std::string_view value) { return key(name, kString, text(value)); }
  GgufBuilder& strings(std::string_view name, const std::vector<std::string>& values) {
    std::string bytes = raw(std::uint32_t{kString}) + raw(std::uint64_t{values.size()});
    for (const std::string& value : values) bytes += text(value);
    return key(name, kArray, bytes);
  }
  template <typename T>
  GgufBuilder& numbers(std::string_view name, Type type, const std::vector<T>& values) {
    std::string bytes = raw(std::uint32_t{type}) + raw(std::uint64_t{values.size()});
    for (const T value : values) bytes += raw(value);
    return key(name, kArray, bytes);
  }

  struct Tensor {
    std::string name;
    std::uint32_t type = 0;           // ggml's number
    std::vector<std::uint64_t> dims;  // innermost first, as in the file
    std::string data;
    std::optional<std::uint64_t> offset;  // forced
  };
  // `shape` is outermost first.
  Tensor& tensor(std::string_view name, std::uint32_t type, std::vector<std::uint64_t> shape, std::string data) {
    remove_tensor(name);
    tensors_.push_back({std::string(name), type, {shape.rbegin(), shape.rend()}, std::move(data), {}});
    return tensors_.back();
  }
  Tensor& tensor_f32(std::string_view name, std::vector<std::uint64_t> shape, const std::vector<float>& values) {
    std::string bytes(values.size() * sizeof(float), '\0');
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return tensor(name, 0, std::move(shape), std::move(bytes));
  }
  Tensor& at(std::string_view name) {
    for (Tensor& t : tensors_) {
      if (t.name == name) return t;
    }
    return tensors_.front();
  }
  GgufBuilder& remove_tensor(std::string_view name) {
    std::erase_if(tensors_, [&](const Tensor& t) { return t.name == name; });
    return *this;
  }
  std::vector<Tensor>& tensors() { return tensors_; }

  std::string build() const {
    std::vector<Key> keys = keys_;
    if (alignment != 32) keys.push_back({"general.alignment", kU32, raw(static_cast<std::uint32_t>(alignment))});
    std::string file = magic + raw(version);
    file += raw(tensor_count.value_or(tensors_.size())) + raw(key_count.value_or(keys.size()));
    for (const Key& k : keys) file += text(k.name) + raw(k.type) + k.value;
    std::string data;
    for (const Tensor& t : tensors_) {
      file += text(t.name) + raw(static_cast<std::uint32_t>(t.dims.size()));
      for (const std::uint64_t dim : t.dims) file += raw(dim);
      pad(data);
      file += raw(t.type) + raw(t.offset.value_or(data.size()));
      data += t.data;
    }
    pad(file);
    return file + data;
  }

 private:
  struct Key {
    std::string name;
    std::uint32_t type;
    std::string value;
  };
  void pad(std::string& bytes) const {
    while (alignment != 0 && bytes.size() % alignment != 0) bytes += '\0';
  }
  std::vector<Key> keys_;
  std::vector<Tensor> tensors_;
};

// A whole model with distinct values everywhere (element i of tensor t is a small number made of both), in F32.
struct TinyGguf {
  std::string architecture = "llama";
  std::uint64_t layers = 2, hidden = 32, intermediate = 48, vocab = 40;
  std::uint64_t heads = 4, kv_heads = 2, head_dim = 8;
  bool tied = true;
  bool bias = false;  // on q, k, v; llama and qwen3: on o too
};
inline float tiny_value(std::string_view tensor, std::uint64_t element) {
  std::uint64_t hash = 1469598103934665603u;
  for (const char c : tensor) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  hash = (hash ^ element) * 1099511628211u;
  // Multiples of 2^-7 below 1: exact in BF16 and F16.
  return (static_cast<float>((hash >> 32) % 255) - 127.0f) / 128.0f;
}
inline GgufBuilder tiny_gguf(const TinyGguf& m = {}) {
  GgufBuilder b;
  const std::string a = m.architecture + ".";
  const auto u32 = [](std::uint64_t value) { return static_cast<std::uint32_t>(value); };
  b.string("general.architecture", m.architecture).string("general.name", "Tiny").u32(a + "block_count", u32(m.layers));
  b.u32(a + "context_length", 128).u32(a + "embedding_length", u32(m.hidden));
  b.u32(a + "feed_forward_length", u32(m.intermediate)).u32(a + "attention.head_count", u32(m.heads));
  b.u32(a + "attention.head_count_kv", u32(m.kv_heads)).f32(a + "attention.layer_norm_rms_epsilon", 1e-5f);
  b.f32(a + "rope.freq_base", 10000.0f);
  if (m.head_dim * m.heads != m.hidden) b.u32(a + "attention.key_length", u32(m.head_dim));
  const auto add = [&](const std::string& name, std::vector<std::uint64_t> shape) {
    std::uint64_t count = 1;
    for (const std::uint64_t dim : shape) count *= dim;
    std::vector<float> values(count);
    for (std::uint64_t i = 0; i < count; ++i) values[i] = tiny_value(name, i);
    b.tensor_f32(name, std::move(shape), values);
  };
  add("token_embd.weight", {m.vocab, m.hidden});
  add("output_norm.weight", {m.hidden});
  if (!m.tied) add("output.weight", {m.vocab, m.hidden});
  const std::uint64_t q = m.heads * m.head_dim;
  const std::uint64_t kv = m.kv_heads * m.head_dim;
  for (std::uint64_t layer = 0; layer < m.layers; ++layer) {
    const std::string p = "blk." + std::to_string(layer) + ".";
    add(p + "attn_norm.weight", {m.hidden});
    add(p + "attn_q.weight", {q, m.hidden});
    add(p + "attn_k.weight", {kv, m.hidden});
    add(p + "attn_v.weight", {kv, m.hidden});
    add(p + "attn_output.weight", {m.hidden, q});
    if (m.bias) {
      add(p + "attn_q.bias", {q});
      add(p + "attn_k.bias", {kv});
      add(p + "attn_v.bias", {kv});
      if (m.architecture != "qwen2") add(p + "attn_output.bias", {m.hidden});
    }
    if (m.architecture == "qwen3") {
      add(p + "attn_q_norm.weight", {m.head_dim});
      add(p + "attn_k_norm.weight", {m.head_dim});
    }
    add(p + "ffn_norm.weight", {m.hidden});
    add(p + "ffn_gate.weight", {m.intermediate, m.hidden});
    add(p + "ffn_up.weight", {m.intermediate, m.hidden});
    add(p + "ffn_down.weight", {m.hidden, m.intermediate});
  }
  return b;
}

}  // namespace octavo::test
