// Online quantization hands a sink what `octavo quantize` writes into a folder: every name, every selection, whatever
// the window and the threads; in memory that does not grow with the model.
#include "octavo/quant/online.h"

#include <gtest/gtest.h>
#include <malloc.h>
#include <unistd.h>

#include <fstream>
#include <mutex>

#include "octavo/base/memory.h"
#include "octavo/checkpoint/quantization.h"
#include "octavo/quant/cut_range.h"
#include "octavo/quant/selection.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/random_tensor.h"
#include "tests/support/temp_dir.h"

namespace octavo::quant {
namespace {

namespace fs = std::filesystem;
using test::TempDir;
using test::TinyModel;

// Rows and columns of an output as a consumer packs it: a vector is one row.
std::pair<std::uint64_t, std::uint64_t> matrix_of(const OutputTensor& out) {
  if (out.shape.empty()) return {1, 1};
  const std::uint64_t k = out.shape.back();
  return {k == 0 ? 0 : *element_count(out.shape) / k, k};
}

// Keeps every output, put together from the rectangles that a backend would pack, and counts what is written.
class MemorySink final : public TensorSink {
 public:
  explicit MemorySink(const Plan& plan) : plan_(plan) {
    for (const OutputTensor& out : plan.outputs) {
      data_.emplace_back(out.bytes);
      times_.emplace_back(out.bytes);
    }
  }
  Status write(std::uint32_t output, std::uint64_t offset, std::span<const std::byte> bytes) override {
    const std::lock_guard lock(mutex_);
    const OutputTensor& out = plan_.outputs.at(output);
    const std::uint64_t element = dtype_bytes(out.dtype);
    if (bytes.empty() || offset % element != 0 || bytes.size() % element != 0) return failure("half an element");
    if (offset + bytes.size() > out.bytes) return failure("beyond the end");
    const auto [rows, cols] = matrix_of(out);
    const RangeParts parts = cut_range(cols, dtype_bytes(out.dtype), offset, bytes.size());
    const bool codes = plan_.tensors[out.tensor].encodes() && plan_.tensors[out.tensor].output == output;
    if (codes && parts.size() != 1) return failure("codes are neither whole rows nor part of one");
    for (const RangePart& part : parts) {
      const auto& r = part.rectangle;
      const std::uint64_t width = (r.col_end - r.col_begin) * element;
      for (std::uint64_t row = r.row_begin; row < r.row_end; ++row) {
        const std::uint64_t to = (row * cols + r.col_begin) * element;
        const std::uint64_t from = part.begin + (row - r.row_begin) * width;
        for (std::uint64_t i = 0; i < width; ++i) {
          data_[output].at(to + i) = bytes[from + i];
          ++times_[output].at(to + i);
        }
      }
    }
    return {};
  }
  const std::vector<std::byte>& data(std::uint32_t output) const { return data_[output]; }
  bool complete(std::uint32_t output) const {
    return std::all_of(times_[output].begin(), times_[output].end(), [](int times) { return times == 1; });
  }

 private:
  const Plan& plan_;
  std::mutex mutex_;
  std::vector<std::vector<std::byte>> data_;
  std::vector<std::vector<int>> times_;
};

std::vector<std::byte> read_all(const Checkpoint& checkpoint, const CheckpointTensor& tensor) {
  std::vector<std::byte> bytes(tensor.bytes);
  EXPECT_TRUE(checkpoint.read(tensor, 0, bytes).ok());
  return bytes;
}

struct Row {
  const char* name;    // online
  const char* scheme;  // offline, both with their defaults
  const char* format = "";
  Edge edge = Edge::kPartial;
};
const std::vector<Row> kRows = {
    {"fp8", "tensor"},
    {"fp8_channel", "dynamic"},
    {"fp8_block", "block"},
    {"fp8_block", "block", "compressed-tensors", Edge::kChannel},
};

QuantSpec offline_spec(const Row& row) {
  QuantSpec spec = make_spec(row.scheme, row.format).value();
  spec.edge = row.edge;
  return spec;
}

// Three layers whose MLP does not fit whole blocks; every fused group, norms, embedding and head.
TinyModel odd_model(DType dtype = DType::kBF16, bool tied = false) {
  TinyModel model;
  model.layers = 3, model.hidden = 128, model.intermediate = 150, model.vocab = 70, model.head_dim = 32;
  model.dtype = dtype, model.tied = tied;
  return model;
}

void expect_equals_folder(const Checkpoint& source, const Row& row, void (*select)(QuantSpec&),
                          const ExecuteOptions& options, const fs::path& out) {
  QuantSpec offline = offline_spec(row), online = online_spec(row.name, row.edge).value();
  select(offline);
  select(online);
  ASSERT_TRUE(execute(source, make_plan(source, offline).value(), out, {}).ok());
  const Checkpoint folder = Checkpoint::open(out).value();

  const auto plan = make_plan(source, online);
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  MemorySink sink(*plan);
  const auto summary = encode_tensors(source, *plan, sink, options);
  ASSERT_TRUE(summary.ok()) << summary.error().message;
  EXPECT_EQ(summary->output_bytes, folder.data_bytes());
  EXPECT_EQ(summary->quantized, plan->quantized);
  ASSERT_EQ(plan->outputs.size(), folder.tensors().size());
  for (std::uint32_t i = 0; i < plan->outputs.size(); ++i) {
    const OutputTensor& output = plan->outputs[i];
    const CheckpointTensor* written = folder.find(output.name);
    ASSERT_NE(written, nullptr) << output.name;
    EXPECT_EQ(output.dtype, written->dtype) << output.name;
    EXPECT_EQ(output.shape, written->shape) << output.name;
    EXPECT_TRUE(sink.complete(i)) << output.name;
    EXPECT_TRUE(sink.data(i) == read_all(folder, *written)) << output.name;
  }
}

TEST(Online, SameBytesAsTheFolder) {
  const std::vector<void (*)(QuantSpec&)> selections = {
      [](QuantSpec&) {},
      [](QuantSpec& s) { s.keep_first = 1; },
      [](QuantSpec& s) { s.keep_last = 2; },
      [](QuantSpec& s) {
        s.ignore = {"*.o_proj", "re:.*layers\\.1\\..*up_proj"};
      },
      [](QuantSpec& s) { s.keep_first = 1, s.keep_last = 1, s.ignore = {"*.k_proj"}; },
  };
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    TempDir dir;
    const Checkpoint source = test::tiny_model(odd_model(dtype)).open(dir / "source");
    std::size_t number = 0;
    for (const Row& row : kRows) {
      for (const auto select : selections) {
        SCOPED_TRACE(fmt::format("{} {} edge {} selection {}", dtype_name(dtype), row.name,
                                 row.edge == Edge::kChannel ? "channel" : "partial", number % selections.size()));
        ExecuteOptions options;
        options.threads = 2;
        options.isa = detect_isa();
        expect_equals_folder(source, row, select, options, dir / fmt::format("out{}", number++));
      }
    }
  }
}

// Small windows cut rows and elements' neighbours apart; kept tensors are still cut between elements.
TEST(Online, WindowAndThreadsDoNotChangeAByte) {
  TempDir dir;
  auto builder = test::tiny_model(odd_model(DType::kF32));
  builder.spread(3);
  const Checkpoint source = builder.open(dir / "source");
  int number = 0;
  for (const Row& row : kRows) {
    for (const auto& [threads, window] : std::vector<std::pair<int, std::uint64_t>>{{1, 1}, {3, 75'023}, {2, 0}}) {
      SCOPED_TRACE(fmt::format("{} threads {} window {}", row.name, threads, window));
      ExecuteOptions options;
      options.threads = threads;
      options.window_bytes = window;
      expect_equals_folder(
          source, row, [](QuantSpec&) {}, options, dir / fmt::format("out{}", number++));
    }
  }
}

TEST(Online, EdgeChannelNamesEveryModuleThatDoesNotFit) {
  TempDir dir;
  TinyModel model = odd_model();
  model.layers = 1;
  const Checkpoint source = test::tiny_model(model).open(dir / "source");
  const Plan plan = make_plan(source, online_spec("fp8_block", Edge::kChannel).value()).value();
  // q is [128, 128]; k and v are [64, 128] and bring q along, which engines fuse with them.
  std::vector<std::string> named = plan.edge_channel, expected;
  for (const char* leaf :
       {"mlp.down_proj", "mlp.gate_proj", "mlp.up_proj", "self_attn.k_proj", "self_attn.q_proj", "self_attn.v_proj"}) {
    expected.push_back(fmt::format("model.layers.0.{}", leaf));
  }
  std::sort(named.begin(), named.end());
  EXPECT_EQ(named, expected);
  for (const PlannedTensor& planned : plan.tensors) {
    if (!planned.encodes()) continue;
    const std::string module(module_name(source.tensors()[planned.source].name));
    const bool edge = std::find(named.begin(), named.end(), module) != named.end();
    EXPECT_EQ(planned.encoding->granularity, edge ? Granularity::kChannel : Granularity::kBlock) << module;
  }
  EXPECT_TRUE(make_plan(source, online_spec("fp8_block").value())->edge_channel.empty());
}

TEST(Online, TiedEmbeddingsAndHeadsStayAsTheyAre) {
  for (const bool tied : {false, true}) {
    TempDir dir;
    const Checkpoint source = test::tiny_model(odd_model(DType::kBF16, tied)).open(dir / "source");
    const Plan plan = make_plan(source, online_spec("fp8").value()).value();
    MemorySink sink(plan);
    ASSERT_TRUE(encode_tensors(source, plan, sink, {}).ok());
    EXPECT_EQ(find_planned(source, plan, "lm_head.weight") == nullptr, tied);
    for (const char* name : {"model.embed_tokens.weight", "lm_head.weight"}) {
      const PlannedTensor* planned = find_planned(source, plan, name);
      if (planned == nullptr) continue;
      EXPECT_FALSE(planned->encodes());
      EXPECT_FALSE(planned->scale);
      EXPECT_TRUE(sink.data(planned->output) == read_all(source, *source.find(name))) << name;
    }
  }
}

TEST(Online, OutputsAreFoundByNameAndByNumber) {
  TempDir dir;
  const Checkpoint source = test::tiny_model(odd_model()).open(dir / "source");
  const Plan plan = make_plan(source, online_spec("fp8_channel").value()).value();
  std::vector<int> seen(plan.outputs.size());
  for (const CheckpointTensor& tensor : source.tensors()) {
    const PlannedTensor* planned = find_planned(source, plan, tensor.name);
    ASSERT_NE(planned, nullptr);
    EXPECT_EQ(source.tensors()[planned->source].name, tensor.name);
    EXPECT_EQ(plan.outputs[planned->output].name, tensor.name);
    EXPECT_EQ(&plan.tensors[plan.outputs[planned->output].tensor], planned);
    ++seen[planned->output];
    if (!planned->scale) continue;
    EXPECT_EQ(plan.outputs[*planned->scale].name, tensor.name + "_scale");
    EXPECT_EQ(&plan.tensors[plan.outputs[*planned->scale].tensor], planned);
    ++seen[*planned->scale];
  }
  EXPECT_EQ(seen, std::vector<int>(plan.outputs.size(), 1));
  EXPECT_EQ(find_planned(source, plan, "model.layers.7.mlp.up_proj.weight"), nullptr);
}

TEST(Online, NamesAndTheirMistakes) {
  for (const std::string& name : online_names()) EXPECT_TRUE(online_spec(name).ok()) << name;
  EXPECT_EQ(online_names().size(), 6u);
  for (const auto& [vllm, name] : std::vector<std::pair<const char*, const char*>>{
           {"fp8_per_tensor", "fp8"}, {"fp8_per_channel", "fp8_channel"}, {"fp8_per_block", "fp8_block"}}) {
    EXPECT_EQ(online_spec(vllm)->scheme.name, online_spec(name)->scheme.name);
    EXPECT_EQ(online_spec(vllm)->format, online_spec(name)->format);
  }
  const auto message = [](const Result<QuantSpec>& spec) {
    EXPECT_FALSE(spec.ok());
    EXPECT_EQ(spec.error().kind, ErrorKind::kUsage);
    return spec.error().message;
  };
  EXPECT_NE(message(online_spec("fp8_blok")).find("did you mean fp8_block"), std::string::npos);
  EXPECT_NE(message(online_spec("int4")).find("one of fp8, fp8_per_tensor, fp8_channel"), std::string::npos);
  EXPECT_NE(message(online_spec("")).find("unknown"), std::string::npos);
  for (const char* name : {"fp8", "fp8_channel"}) {
    EXPECT_NE(message(online_spec(name, Edge::kChannel)).find("--quantization fp8_block"), std::string::npos);
  }
}

// What loaders make of a folder is no concern of a model in memory; what is left unquantized is.
TEST(Online, WarnsOnlyOfWhatConcernsTheRun) {
  TempDir dir;
  TinyModel model = odd_model();
  model.experts = 4;
  auto builder = test::tiny_model(model);
  builder.add_random("model.layers.0.mlp.experts.gate_up_proj", DType::kBF16, {4, 8, 8}, 9);
  const Checkpoint source = builder.open(dir / "source");
  for (const Row& row : kRows) {
    QuantSpec online = online_spec(row.name, row.edge).value(), offline = offline_spec(row);
    online.ignore = offline.ignore = {"*.k_proj"};
    const auto warnings = make_plan(source, online).value().warnings;
    ASSERT_EQ(warnings.size(), 1u) << row.name;
    EXPECT_NE(warnings[0].find("experts in 3-D tensors"), std::string::npos) << warnings[0];
    EXPECT_GT(make_plan(source, offline).value().warnings.size(), 1u) << row.name;
  }
}

// A linear's inputs are rounded as the folder's config.json says.
TEST(Online, InputRoundingIsTheFoldersScheme) {
  using Kind = backend::InputRounding::Kind;
  TempDir dir;
  const Checkpoint source = test::tiny_model(odd_model()).open(dir / "source");
  for (const Row& row : kRows) {
    for (const bool pow2 : {false, true}) {
      QuantSpec spec = online_spec(row.name, row.edge).value();
      spec.pow2_scales = pow2;
      const Plan plan = make_plan(source, spec).value();
      const auto info = parse_quantization(Json::parse(plan.config_text), "config.json").value();
      ASSERT_TRUE(info);
      for (const PlannedTensor& planned : plan.tensors) {
        if (!planned.encodes()) continue;
        const std::string module(module_name(source.tensors()[planned.source].name));
        const QuantizationGroup* group = &info->groups.front();
        for (const QuantizationGroup& named : info->groups) {
          if (std::find(named.targets.begin(), named.targets.end(), module) != named.targets.end()) group = &named;
        }
        const backend::InputRounding rounding = input_rounding(spec, *planned.encoding);
        ASSERT_TRUE(group->activation == ActivationScheme::kDynamicGroup ||
                    group->activation == ActivationScheme::kDynamicToken);
        const bool groups = group->activation == ActivationScheme::kDynamicGroup;
        EXPECT_EQ(rounding.kind, groups ? Kind::kDynamicGroup : Kind::kDynamicToken) << row.name << " " << module;
        EXPECT_EQ(rounding.group, group->activation_group) << row.name << " " << module;
        EXPECT_EQ(rounding.pow2_scales, groups && info->pow2_scales) << row.name << " " << module;
      }
    }
  }
  const QuantSpec weight_only = make_spec("weight-only", "").value();
  EXPECT_EQ(input_rounding(weight_only, WeightEncoding{}).kind, Kind::kNone);
}

class FullSink final : public TensorSink {
 public:
  Status write(std::uint32_t, std::uint64_t, std::span<const std::byte>) override {
    if (left_.fetch_sub(1) <= 0) return failure("the sink is full");
    return {};
  }

 private:
  std::atomic<int> left_{20};
};

// An error ends every worker, also those that wait for a scale.
TEST(Online, ErrorsOfSinkAndSourceEndTheWork) {
  TempDir dir;
  auto builder = test::tiny_model(odd_model());
  const Checkpoint source = builder.open(dir / "source");
  auto& up = builder.at("model.layers.2.mlp.up_proj.weight").bytes;
  up[2 * 151] = std::byte{0xC0}, up[2 * 151 + 1] = std::byte{0x7F};  // NaN at [1, 23]
  const Checkpoint bad = builder.open(dir / "bad");
  for (const Row& row : kRows) {
    ExecuteOptions options;
    options.threads = 3;
    options.window_bytes = 1;
    const QuantSpec spec = online_spec(row.name, row.edge).value();
    FullSink full;
    const auto result = encode_tensors(source, make_plan(source, spec).value(), full, options);
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().message, "the sink is full");
    const Plan plan = make_plan(bad, spec).value();
    MemorySink sink(plan);
    const auto nan = encode_tensors(bad, plan, sink, options);
    ASSERT_FALSE(nan.ok());
    EXPECT_NE(nan.error().message.find("layers.2.mlp.up_proj.weight\" in model.safetensors: NaN at [1, 23]"),
              std::string::npos)
        << nan.error().message;
  }
}

class NullSink final : public TensorSink {
 public:
  Status write(std::uint32_t, std::uint64_t, std::span<const std::byte>) override { return {}; }
};

// A sparse file of one weight and one kept tensor of 128 MiB each: beside the sink there is only the window.
TEST(Online, PeakMemoryIsTheWindow) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers keep freed memory";
#endif
  TempDir dir;
  constexpr std::uint64_t kRowsEach = 16 * 1024, kCols = 4096;
  std::vector<TensorEntry> tensors = {{"model.embed_tokens.weight", DType::kBF16, {kRowsEach, kCols}, 0, 0},
                                      {"model.layers.0.mlp.down_proj.weight", DType::kBF16, {kRowsEach, kCols}, 0, 0}};
  const std::string header = lay_out_safetensors(tensors, {}).value();
  test::write_file(dir / "config.json", R"({"model_type": "llama", "num_hidden_layers": 1})");
  test::write_file(dir / "model.safetensors", header);
  ASSERT_EQ(truncate((dir / "model.safetensors").c_str(), static_cast<off_t>(header.size() + 4 * kRowsEach * kCols)),
            0);
  const Checkpoint source = Checkpoint::open(dir.path()).value();
  for (const char* name : {"fp8", "fp8_channel", "fp8_block"}) {
    const Plan plan = make_plan(source, online_spec(name).value()).value();
    malloc_trim(0);  // what earlier work freed must not hide what this needs
    {
      std::ofstream reset("/proc/self/clear_refs");  // 5: VmHWM begins again at what is resident now
      reset << "5" << std::flush;
      if (!reset) GTEST_SKIP() << "/proc/self/clear_refs cannot be written: VmHWM would be that of earlier tests";
    }
    const std::uint64_t before = peak_memory();
    ASSERT_GT(before, 0u);
    ExecuteOptions options;
    options.threads = 2;
    options.isa = detect_isa();
    NullSink sink;
    ASSERT_TRUE(encode_tensors(source, plan, sink, options).ok());
    constexpr std::uint64_t kSlack = 4u << 20;  // stacks of the workers, the schedule
    EXPECT_LE(peak_memory(), before + online_window(options.threads) + kSlack) << name;
  }
}

// Every range of small matrices against a walk over its elements.
TEST(CutRange, EveryRangeOfSmallMatrices) {
  for (const unsigned element : {1u, 2u, 4u}) {
    for (std::uint64_t cols = 1; cols <= 5; ++cols) {
      const std::uint64_t count = 4 * cols;
      for (std::uint64_t begin = 0; begin <= count; ++begin) {
        for (std::uint64_t end = begin; end <= count; ++end) {
          const RangeParts parts = cut_range(cols, element, begin * element, (end - begin) * element);
          const bool whole = begin % cols == 0 && end % cols == 0;
          EXPECT_LE(parts.size(), whole ? 1u : 3u);
          std::uint64_t next = begin;
          for (const RangePart& part : parts) {
            const auto& r = part.rectangle;
            EXPECT_EQ(part.begin, (next - begin) * element);
            EXPECT_LE(r.col_end, cols);
            EXPECT_LE(r.row_end, 4u);
            for (std::uint64_t row = r.row_begin; row < r.row_end; ++row) {
              for (std::uint64_t col = r.col_begin; col < r.col_end; ++col) EXPECT_EQ(row * cols + col, next++);
            }
            EXPECT_EQ(part.begin + part.bytes, (next - begin) * element);
          }
          EXPECT_EQ(next, end);
        }
      }
    }
  }
}

TEST(CutRange, CutsAtRowsOnly) {
  const RangeParts parts = cut_range(10, 2, 2 * 7, 2 * 38);  // [0, 7) .. [4, 5)
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[0].rectangle.col_begin, 7u);
  EXPECT_EQ(parts[1].rectangle.row_begin, 1u);
  EXPECT_EQ(parts[1].rectangle.row_end, 4u);
  EXPECT_EQ(parts[1].begin, 6u);
  EXPECT_EQ(parts[1].bytes, 60u);
  EXPECT_EQ(parts[2].rectangle.col_end, 5u);
  EXPECT_EQ(cut_range(0, 2, 0, 0).size(), 0u);  // an empty tensor
}

}  // namespace
}  // namespace octavo::quant
