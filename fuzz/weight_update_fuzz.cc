// A safetensors body in pieces into a weight update of a tiny model that is loaded once. The first byte: the model's
// scheme, whether the update is partial, whether the length of the header is put right (nearly no input has it by
// chance) and whether tensors' bytes that are missing are made up; the second seeds the pieces' sizes. Then the
// header's JSON up to a zero byte, or to the end, and the tensors' bytes.
// What is accepted serves as if it had come in one piece; what is refused leaves every bit of what serves.
#include <filesystem>
#include <map>
#include <memory>

#include "fuzz/property.h"
#include "octavo/backend/cpu/cpu_backend.h"
#include "octavo/base/file.h"
#include "octavo/checkpoint/safetensors.h"
#include "octavo/quant/online.h"
#include "octavo/rollout/model_state.h"
#include "octavo/rollout/safetensors_stream.h"
#include "octavo/rollout/weight_update.h"

namespace octavo::fuzz {
namespace {

using Sums = std::map<std::string, std::string>;

constexpr const char* kConfig = R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8,
  "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4,
  "vocab_size": 16, "rms_norm_eps": 1e-6, "max_position_embeddings": 64, "tie_word_embeddings": true,
  "hidden_act": "silu", "rope_theta": 10000.0, "attention_bias": false})";

// The model's one safetensors file: BF16 values between -1 and 1.
std::string model_file() {
  const std::string layer = "model.layers.0.";
  std::vector<TensorEntry> tensors;
  const auto add = [&](const std::string& name, Shape shape) {
    TensorEntry t;
    t.name = name, t.dtype = DType::kBF16, t.shape = std::move(shape);
    tensors.push_back(std::move(t));
  };
  add("model.embed_tokens.weight", {16, 8});
  add("model.norm.weight", {8});
  add(layer + "input_layernorm.weight", {8});
  add(layer + "post_attention_layernorm.weight", {8});
  add(layer + "self_attn.q_proj.weight", {8, 8});
  add(layer + "self_attn.k_proj.weight", {4, 8});
  add(layer + "self_attn.v_proj.weight", {4, 8});
  add(layer + "self_attn.o_proj.weight", {8, 8});
  add(layer + "mlp.gate_proj.weight", {12, 8});
  add(layer + "mlp.up_proj.weight", {12, 8});
  add(layer + "mlp.down_proj.weight", {8, 12});
  std::string out = lay_out_safetensors(tensors, {}).value();
  std::uint64_t bytes = 0;
  for (const TensorEntry& t : tensors) bytes += t.bytes();
  for (std::uint64_t i = 0; i < bytes / 2; ++i) {
    const std::uint64_t random = (i + 1) * 0x9E3779B97F4A7C15u >> 40;
    out += static_cast<char>(random & 0x7F);
    out += static_cast<char>(0x3E | (random >> 8 & 0x81));
  }
  return out;
}

struct Model {
  explicit Model(const std::string& scheme) : backend(cpu::create_cpu_backend({.isa = Isa::kScalar, .threads = 1})) {
    const auto folder =
        std::filesystem::temp_directory_path() / ("octavo_weight_update_fuzz_" + std::to_string(getpid()));
    std::filesystem::create_directories(folder);
    file = model_file();
    write_text(folder / "config.json", kConfig);
    write_text(folder / "model.safetensors", file);
    const auto checkpoint = Checkpoint::open(folder);
    require(checkpoint.ok(), "the model opens", checkpoint.ok() ? "" : checkpoint.error().message);
    model::LoadOptions load;
    load.isa = Isa::kScalar;
    load.threads = 1;
    if (!scheme.empty()) load.quantize = quant::online_spec(scheme).value();
    if (scheme == "fp8_channel") load.head = model::HeadMode::kFp8;
    auto opened = model::load_model(*checkpoint, *backend, load);
    require(opened.ok(), "the model loads", opened.ok() ? "" : opened.error().message);
    loaded = std::make_unique<model::LoadedModel>(std::move(*opened));
    require(shadow.allocate(*loaded, *backend).ok(), "there is memory for a second set");
    original = sums();
    std::filesystem::remove_all(folder);
  }
  static void write_text(const std::filesystem::path& path, std::string_view text) {
    std::FILE* out = std::fopen(path.c_str(), "wb");
    require(out != nullptr && std::fwrite(text.data(), 1, text.size(), out) == text.size(), "the folder is written");
    std::fclose(out);
  }
  Sums sums() { return rollout::parameter_checksums(*loaded, *backend, 1).value(); }
  // Pieces of 1 to `most` bytes; 0: all at once.
  Status update(std::string_view body, bool partial, std::uint64_t most, std::uint64_t seed) {
    rollout::WeightUpdate update(*loaded, *backend, shadow, {.isa = Isa::kScalar, .threads = 1, .partial = partial});
    rollout::SafetensorsStream stream(
        {[&](std::span<const rollout::TensorInfo> tensors) { return update.declare_all(tensors); },
         [&](std::size_t id, std::uint64_t offset, std::span<const std::byte> bytes) {
           return update.write(id, offset, bytes);
         }},
        "body");
    for (std::size_t at = 0; at < body.size();) {
      seed = seed * 6364136223846793005u + 1442695040888963407u;
      const std::size_t step = most == 0 ? body.size() : 1 + (seed >> 33) % most;
      // A copy of the piece alone, so that reading beyond it is seen.
      const std::string piece(body.substr(at, step));
      OCTAVO_TRY(stream.push(as_bytes(piece)));
      at += piece.size();
    }
    OCTAVO_TRY(stream.finish());
    OCTAVO_TRY(update.check());
    const auto done = update.commit(*loaded);
    require(done.ok(), "what was checked is committed");
    return {};
  }

  std::string file;
  std::unique_ptr<backend::Backend> backend;
  std::unique_ptr<model::LoadedModel> loaded;
  rollout::ShadowWeights shadow;
  Sums original;
};

std::string prefix(std::uint64_t length) {
  std::string out;
  for (int i = 0; i < 8; ++i) out += static_cast<char>(length >> (8 * i));
  return out;
}

// As many as the header asks for.
std::uint64_t data_bytes(std::string_view header) {
  const auto json = parse_json(header, "header");
  std::uint64_t out = 0;
  if (!json.ok() || !json->is_object()) return out;
  for (const auto& [name, entry] : json->items()) {
    if (!entry.is_object() || !entry.contains("data_offsets")) continue;
    const Json& offsets = entry["data_offsets"];
    if (offsets.is_array() && offsets.size() == 2 && offsets[1].is_number_unsigned()) {
      out = std::max(out, offsets[1].get<std::uint64_t>());
    }
  }
  return out;
}

}  // namespace
}  // namespace octavo::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace octavo;
  constexpr std::uint64_t kMadeUp = 4096;  // bytes, more than the model has
  constexpr const char* kSchemes[] = {"", "fp8", "fp8_channel", "fp8_block"};
  static std::unique_ptr<fuzz::Model> models[4];
  if (size < 2) return 0;
  const unsigned mode = data[0];
  auto& model = models[mode & 3];
  if (!model) model = std::make_unique<fuzz::Model>(kSchemes[mode & 3]);
  const bool partial = (mode & 4) != 0;
  std::string body(fuzz::as_text(data + 2, size - 2));
  if ((mode & 8) != 0) {
    const std::size_t end = std::min(body.find('\0'), body.size());
    std::string tensors = end < body.size() ? body.substr(end + 1) : "";
    body.resize(end);
    if ((mode & 16) != 0) {
      if (const std::uint64_t wanted = fuzz::data_bytes(body); wanted <= kMadeUp) {
        while (tensors.size() < wanted) tensors += static_cast<char>(tensors.size() * 37 % 127);
        tensors.resize(wanted);
      }
    }
    body = fuzz::prefix(body.size()) + body + tensors;
  }
  const Status status = model->update(body, partial, 1 + data[1] % 61, data[1]);
  if (!status.ok()) {
    fuzz::require_readable(status.error().message);
    fuzz::require(model->sums() == model->original, "a refused update changes nothing", status.error().message);
    fuzz::require(!model->update(body, partial, 0, 0).ok(), "what is refused in pieces is refused whole");
    fuzz::require(model->sums() == model->original, "a refused update changes nothing", status.error().message);
    return 0;
  }
  const auto in_pieces = model->sums();
  fuzz::require(model->update(model->file, false, 0, 0).ok() && model->sums() == model->original,
                "the old weights can be sent again");
  fuzz::require(model->update(body, partial, 0, 0).ok(), "what is accepted in pieces is accepted whole");
  fuzz::require(model->sums() == in_pieces, "pieces change nothing");
  fuzz::require(model->update(model->file, false, 0, 0).ok(), "the old weights can be sent again");
  return 0;
}
