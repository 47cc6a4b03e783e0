// AngelSlim's YAML (angelslim/utils/config_parser.py): global, model, compression, dataset. The file's name is part of
// its meaning: the output is SAVE_PATH/STEM.
#include <algorithm>
#include <filesystem>

#include "octavo/base/text.h"
#include "octavo/dialect/languages.h"
#include "octavo/dialect/patterns.h"

namespace octavo::dialect {
namespace {

constexpr std::int64_t kLargestBlock = 1 << 16;

class AngelSlim {
 public:
  explicit AngelSlim(Reader& reader, Config& config) : reader_(reader), config_(config), root_(reader.root()) {}

  void run() {
    read_global();
    read_model();
    root_.require("compression", "it says what is done");
    const Section compression = root_.section("compression");
    read_compression(compression);
    read_sections_without_meaning();
    if (!reader_.failed()) config_.meanings.push_back(std::move(meaning_));
  }

 private:
  void read_global() {
    const Section global = root_.section("global");
    const std::string save_path = global.text("save_path").value_or("./output");
    const std::string stem = std::filesystem::path(config_.origin).stem().string();
    meaning_.output = (std::filesystem::path(save_path) / (stem.empty() ? "model" : stem)).lexically_normal().string();
    global.meaningless({"max_seq_length", "hidden_size", "model_arch_type", "absolute_model_path", "model_path",
                        "config_dir", "deploy_backend"});
  }

  void read_model() {
    root_.require("model", "it says which model");
    const Section model = root_.section("model");
    if (!model.exists()) return;
    model.require("model_path", "the model's folder or hub name");
    meaning_.model = model.text("model_path").value_or("");
    model.meaningless({"name", "trust_remote_code", "torch_dtype", "device_map", "low_cpu_mem_usage", "use_cache",
                       "cache_dir", "use_audio_in_video", "attn_implementation", "enable_expert_parallel"});
  }

  void read_compression(const Section& compression) {
    if (!compression.exists()) return;
    const bool weight_only = read_method(compression);
    if (other_method_) return compression.tolerate_unknown();  // its sections are nobody's mistake
    compression.meaningless(
        {"calibrate", "cache", "sparsity", "QAT", "QAD", "MCoreQAD", "Distill", "speculative_decoding"});
    compression.require("quantization", "it says to what the model is quantized");
    const Section quantization = compression.section("quantization");
    if (quantization.exists()) read_quantization(quantization, weight_only);
  }

  // compression.name: one method or a list of them. True for PTQWeightOnly.
  bool read_method(const Section& compression) {
    static const std::vector<std::string> kMethods = {
        "PTQ", "PTQWeightOnly", "QAT", "QAD", "MCoreQAD", "Distill", "Cache", "Sparsity", "speculative_decoding"};
    compression.require("name", "PTQ or PTQWeightOnly");
    bool weight_only = false, quantizes = false;
    const auto names = compression.texts("name", /*single=*/true);
    if (!names) return false;
    for (const Text& name : *names) {
      if (name.text == "quantization") {
        reader_.note("compression.name: quantization is what PTQ was called before; it is read as PTQ");
        quantizes = true;
      } else if (name.text == "PTQ" || name.text == "PTQWeightOnly") {
        quantizes = true;
        weight_only = weight_only || name.text == "PTQWeightOnly";
      } else if (std::find(kMethods.begin(), kMethods.end(), name.text) != kMethods.end()) {
        other_method_ = true;
        compression.error_at(
            name, "name",
            fmt::format("{}: only PTQ and PTQWeightOnly are done here; run it with AngelSlim", name.text));
      } else {
        compression.error_at(
            name, "name",
            fmt::format("{}: unknown; PTQ or PTQWeightOnly{}", shown(name.text), did_you_mean(name.text, kMethods, 1)));
      }
    }
    if (names->empty()) compression.error("name", "is empty: PTQ or PTQWeightOnly");
    if (names->size() > 1 && quantizes && !reader_.failed()) {
      reader_.note("compression.name is a list; its quantization is done once");
    }
    return weight_only;
  }

  void read_quantization(const Section& q, bool weight_only) {
    q.require("name", "fp8_dynamic or fp8_blockwise");
    const std::string name = q.text("name").value_or("");
    if (!name.empty() && !check_name(q, name, weight_only)) {
      // What such a scheme says of itself is nobody's mistake.
      return q.tolerate_unknown();
    }
    if (const auto bits = q.integer("bits", 1, 64); bits && *bits != 8) {
      q.error("bits", fmt::format("{}: FP8 has 8 bits; for other widths use AngelSlim itself", *bits));
    }
    read_method_keys(q, name);
    read_save_name(q, name);
    read_ignored(q);
    if (q.boolean("low_memory")) {
      reader_.note("low_memory is always so here: the model is streamed, whatever its size");
    }
    q.decides_nothing("low_memory");
    if (const auto helpers = q.texts("quant_helpers"); helpers && !helpers->empty()) {
      q.error("quant_helpers",
              fmt::format("{}: {}; for FP8 leave it out", shown(helpers->front().text), kNeedsCalibration));
    }
    for (const char* key : {"quant_vit", "quant_talker"}) {
      if (q.boolean(key).value_or(false)) {
        q.error(key, "vision, audio and talker parts stay in BF16 here; set it to false, or use AngelSlim");
      }
    }
    q.meaningless({"smooth_alpha", "cpu_convert", "modules_to_quantize", "zero_point", "mse_range", "quant_analyse",
                   "base_model_path", "base_is_fp8", "metric", "quantization_method", "scale_search", "num_workers",
                   "gpus"});
  }

  // False where the name cannot be done.
  bool check_name(const Section& q, const std::string& name, bool weight_only) {
    static const std::vector<std::string> kFp8 = {"fp8_dynamic", "fp8_blockwise", "fp8_static", "fp8_lepto"};
    static const std::vector<std::string> kOther = {"int4_awq",   "int4_gptq",  "int4_gptaq", "int8_dynamic",
                                                    "w4a8_fp8",   "w4a8i8",     "nvfp4",      "nvfp4_weight_only",
                                                    "nvfp4_gptq", "nvfp4_gptaq"};
    if (name == "fp8_static" || name == "fp8_lepto") {
      q.error("name", fmt::format("{} {}; fp8_dynamic and fp8_blockwise need none", name, kNeedsCalibration));
    } else if (name == "daq") {
      q.error("name", "daq searches scales against a base model, which is not done here; run it with AngelSlim");
    } else if (std::find(kOther.begin(), kOther.end(), name) != kOther.end()) {
      q.error("name", fmt::format("{} is not FP8, which is all that is written here; run it with AngelSlim", name));
    } else if (std::find(kFp8.begin(), kFp8.end(), name) == kFp8.end()) {
      std::vector<std::string> all = kFp8;
      all.insert(all.end(), kOther.begin(), kOther.end());
      q.error("name",
              fmt::format("{}: unknown; fp8_dynamic or fp8_blockwise{}", shown(name), did_you_mean(name, all, 1)));
    } else if (weight_only && name == "fp8_dynamic") {
      q.error("name", "fp8_dynamic goes with compression.name: PTQ; PTQWeightOnly knows fp8_blockwise");
    } else {
      return true;
    }
    return false;
  }

  // quant_method: the granularity. `name` is "" where nothing can be made of it.
  void read_method_keys(const Section& q, const std::string& name) {
    const Section method = q.section("quant_method");
    const auto weight = method.one_of("weight", {"per-tensor", "per-channel", "per-group", "per-block"});
    method.one_of("activation", {"per-tensor", "per-channel", "per-token", "per-block"});
    method.decides_nothing("activation");
    if (method.has("kv_cache")) method.error("kv_cache", fmt::format("{}", kNeedsCalibration));
    if (const auto group = method.integer("group_size", -1, kLargestBlock); group && *group != -1) {
      method.error("group_size", fmt::format("{}: groups are for 4-bit weights; FP8 has none (-1)", *group));
    }
    method.meaningless(
        {"num_workers", "zero_point", "mse_range", "actorder", "dequant_to_bf16", "share_gate_up_weight_scale_2"});
    const auto block = method.integers("block_size", -1, kLargestBlock);
    if (weight == "per-group") {
      method.error("weight", "per-group is for 4-bit weights; per-tensor or per-channel in FP8");
    }
    if (name == "fp8_dynamic") {
      if (block) method.error("block_size", "goes with fp8_blockwise, not fp8_dynamic");
      set_scheme(weight == "per-channel" ? "dynamic" : "tensor", q, "name");
      if (weight) meaning_.said["scheme"] = method.where("weight");
      if (weight == "per-block")
        method.error("weight", "per-block goes with fp8_blockwise; per-tensor or per-channel here");
      if (method.has("activation")) {
        reader_.note("activations are rounded by the engine as they come; the files say dynamic, per token");
      }
    } else if (name == "fp8_blockwise") {
      if (weight && *weight != "per-block") {
        method.error("weight", fmt::format("{}: fp8_blockwise has blocks; leave it out, or use fp8_dynamic", *weight));
      }
      set_scheme("block", q, "name");
      if (block) set_block(method, *block);
    }
  }

  void set_scheme(std::string_view scheme, const Section& q, std::string_view key) {
    auto spec = quant::make_spec(scheme, "");
    if (!spec.ok()) return q.error(key, first_line(spec.error()));
    meaning_.spec = std::move(spec).value();
    meaning_.said["scheme"] = q.where(key);
  }

  void set_block(const Section& method, const std::vector<std::int64_t>& block) {
    if (block.size() != 2 || std::find(block.begin(), block.end(), 0) != block.end()) {
      return method.error("block_size", "must be two numbers, rows and columns, such as [128, 128]");
    }
    if (block[0] == -1 && block[1] == -1) return set_scheme("tensor", method, "block_size");
    if (block[0] == -1 || block[1] == -1) {
      return method.error("block_size",
                          "a block as long as the matrix is not written here; [-1, -1] is one scale a "
                          "tensor");
    }
    if (!meaning_.spec) return;
    meaning_.spec->scheme.block_n = static_cast<std::uint64_t>(block[0]);
    meaning_.spec->scheme.block_k = static_cast<std::uint64_t>(block[1]);
    meaning_.said["block-size"] = method.where("block_size");
  }

  // The dialect of the output. The block tool writes fp8 whatever the name is, and its shipped files say fp8_blockwise.
  void read_save_name(const Section& q, const std::string& name) {
    const bool blocks = name == "fp8_blockwise";
    const auto save_name = blocks ? q.one_of("save_name", {"fp8", "compressed-tensors", "fp8_blockwise"})
                                  : q.one_of("save_name", {"fp8", "compressed-tensors"});
    if (!meaning_.spec) return;
    const std::string format = save_name && *save_name != "fp8_blockwise" ? *save_name
                               : blocks                                   ? "fp8"
                                                                          : "compressed-tensors";
    meaning_.spec->format = *quant::find_format(format);
    if (save_name) meaning_.said["format"] = q.where("save_name");
    if (const Status legal = quant::check_spec(*meaning_.spec); !legal.ok()) {
      q.error("save_name", fmt::format("{}: {}", format, first_line(legal.error())));
    }
  }

  void read_ignored(const Section& q) {
    const auto layers = q.texts("ignore_layers");
    if (!layers || !meaning_.spec) return;
    for (const Text& layer : *layers) meaning_.spec->ignore.push_back(substring_pattern(layer.text));
    if (!layers->empty()) meaning_.said["ignore"] = q.where("ignore_layers");
  }

  // What calibration and generation would need: read for misspelt keys only.
  void read_sections_without_meaning() {
    root_.section("dataset").meaningless({"name", "data_path", "max_seq_length", "num_samples", "batch_size", "shuffle",
                                          "inference_settings", "is_sft_data"});
    root_.section("inference")
        .meaningless({"height", "width", "guidance_scale", "num_inference_steps", "max_sequence_length", "seed",
                      "max_new_tokens", "do_sample", "temperature", "top_p", "top_k"});
    if (root_.has("transform")) {
      root_.error("transform", "rotations of weights (SpinQuant) are not done here; run it with AngelSlim");
    }
  }

  Reader& reader_;
  Config& config_;
  Section root_;
  Meaning meaning_;
  bool other_method_ = false;
};

}  // namespace

void read_angelslim(Reader& reader, Config& config) { AngelSlim(reader, config).run(); }

}  // namespace octavo::dialect
