// octavo inspect: what a model folder is, tensor by tensor.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "cli/command.h"
#include "cli/model_source.h"
#include "octavo/base/text.h"
#include "octavo/checkpoint/checkpoint.h"
#include "octavo/checkpoint/model_config.h"
#include "octavo/checkpoint/quantization.h"

namespace octavo::cli {
namespace {

struct Options {
  CommonOptions common;
  std::string source;
  bool summary_only = false;
};

// What the quantization_config says, or why it cannot be read: inspect shows a foreign folder, it does not judge it.
std::string describe_quantization(const Checkpoint& checkpoint) {
  const auto info = read_quantization(checkpoint);
  if (!info.ok()) return fmt::format("unknown: {}", info.error().message);
  const auto& tensors = checkpoint.tensors();
  const bool any = std::any_of(tensors.begin(), tensors.end(), [](const auto& t) { return is_fp8(t.dtype); });
  if (*info) return (**info).describe() + (any ? "" : " (but no tensor is in FP8)");
  return any ? "none in config.json, though tensors are in FP8" : "none";
}

Outcome run(const Options& o) {
  OCTAVO_ASSIGN(const Checkpoint checkpoint, open_model(o.source, "inspect", false));
  OCTAVO_ASSIGN(const ModelConfig config, parse_model_config(checkpoint.config(), checkpoint.config_path().string()));
  const std::string quantization = describe_quantization(checkpoint);

  std::map<DType, std::pair<std::size_t, std::uint64_t>> dtypes;  // tensors, bytes
  std::uint64_t parameters = 0;
  Json tensors = Json::array();
  std::size_t width = 0;
  for (const CheckpointTensor& t : checkpoint.tensors()) {
    ++dtypes[t.dtype].first;
    dtypes[t.dtype].second += t.bytes;
    if (!is_scale_name(t.name)) parameters += element_count(t.shape).value_or(0);
    width = std::max(width, printable(t.name).size());
    tensors.push_back({{"name", t.name},
                       {"dtype", dtype_name(t.dtype)},
                       {"shape", t.shape},
                       {"bytes", t.bytes},
                       {"shard", checkpoint.shards()[t.shard].name}});
  }
  const std::string architecture =
      config.architectures.empty() ? "no architecture named" : config.architectures.front();
  std::string human = fmt::format("{}: {} ({}){}\n", o.source, printable(architecture),
                                  config.model_type.empty() ? "no model_type" : printable(config.model_type),
                                  checkpoint.has_config() ? "" : ", no config.json");
  human += fmt::format("  quantization  {}\n  parameters    {:.1f} M\n  shards        {}\n  tensors       {}, {}\n",
                       quantization, static_cast<double>(parameters) / 1e6, checkpoint.shards().size(),
                       checkpoint.tensors().size(), human_bytes(checkpoint.data_bytes()));
  Json by_dtype = Json::object();
  for (const auto& [dtype, use] : dtypes) {
    human += fmt::format("    {:<11} {:>5} tensors, {}\n", dtype_name(dtype), use.first, human_bytes(use.second));
    by_dtype[std::string(dtype_name(dtype))] = {{"tensors", use.first}, {"bytes", use.second}};
  }
  if (!checkpoint.unindexed().empty()) {
    human += fmt::format("  not in index  {} tensors, which loaders leave out\n", checkpoint.unindexed().size());
  }
  for (const std::string& note : checkpoint.notes()) human += fmt::format("  note          {}\n", note);
  if (!o.summary_only) {
    human += "\n";
    for (const CheckpointTensor& t : checkpoint.tensors()) {
      human += fmt::format("{:<{}}  {:<8} {:<18} {:>9}  {}\n", printable(t.name), width, dtype_name(t.dtype),
                           shape_string(t.shape), human_bytes(t.bytes), checkpoint.shards()[t.shard].name);
    }
  }
  Json json = {{"path", o.source},
               {"model_type", config.model_type},
               {"architectures", config.architectures},
               {"quantization", quantization},
               {"parameters", parameters},
               {"bytes", checkpoint.data_bytes()},
               {"shards", checkpoint.shards().size()},
               {"dtypes", std::move(by_dtype)},
               {"notes", checkpoint.notes()},
               {"tensors", std::move(tensors)}};
  OCTAVO_TRY(print_result(o.common, human, json));
  return 0;
}

}  // namespace

void add_inspect(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  Options& o = *options;
  CLI::App* command =
      add_command(app, "inspect", "Say what a model folder is: architecture, quantization, every tensor",
                  "octavo inspect Qwen3-8B-FP8");
  command->add_option("MODEL", o.source, "model folder")->required()->option_text(" ");
  command->add_flag("--summary", o.summary_only, "without the table of tensors")->group("Output");
  command->add_flag("--json", o.common.json, "print one JSON object instead of text")->group("Output");
  command->add_option("--json-file", o.common.json_file, "also write that JSON object to FILE")
      ->option_text("FILE")
      ->group("Output");
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace octavo::cli
