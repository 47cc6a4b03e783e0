// YAML to flags, and a dictionary of other servers' flags.
#include "cli/serve_arguments.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "octavo/base/file.h"
#include "octavo/base/json.h"
#include "octavo/base/text.h"
#include "octavo/dialect/config.h"

namespace octavo::cli {
namespace {

constexpr std::uint64_t kLargestFile = 1 << 20;

// A YAML value as JSON, for flags that take an object.
Json json_of(const dialect::Node& node) {
  using Kind = dialect::Node::Kind;
  if (node.kind == Kind::kMap) {
    Json out = Json::object();
    for (const dialect::Entry& entry : node.entries) out[entry.key] = json_of(entry.value);
    return out;
  }
  if (node.kind == Kind::kList) {
    Json out = Json::array();
    for (const dialect::Node& item : node.items) out.push_back(json_of(item));
    return out;
  }
  if (node.kind == Kind::kNull) return nullptr;
  if (!node.quoted) {
    const Json value = Json::parse(node.text, nullptr, /*allow_exceptions=*/false);
    if (value.is_number() || value.is_boolean()) return value;
  }
  return node.text;
}

bool is_true(std::string_view text) { return text == "true" || text == "True" || text == "yes" || text == "on"; }
bool is_false(std::string_view text) { return text == "false" || text == "False" || text == "no" || text == "off"; }

// Whether any of the option's names stands among the arguments.
bool is_given(const CLI::Option& option, const std::vector<std::string>& arguments) {
  const auto& names = option.get_lnames();
  return std::any_of(arguments.begin(), arguments.end(), [&](const std::string& argument) {
    if (!argument.starts_with("--")) return false;
    const std::string name = argument.substr(2, argument.find('=') - 2);
    return std::find(names.begin(), names.end(), name) != names.end();
  });
}

// The option that has this long name; the negative names of flags ("no-...") are among them.
const CLI::Option* find_option(const CLI::App& command, const std::string& name) {
  for (const CLI::Option* option : command.get_options()) {
    const auto& names = option->get_lnames();
    if (std::find(names.begin(), names.end(), name) != names.end()) return option;
  }
  return nullptr;
}

std::vector<std::string> option_names(const CLI::App& command) {
  std::vector<std::string> out;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) out.push_back(name);
  }
  return out;
}

// One key of the file, appended to `out`.
Status add_flag(const CLI::App& command, const dialect::Entry& entry, const std::string& path,
                const std::vector<std::string>& given, std::vector<std::string>& out) {
  std::string name = entry.key;
  std::replace(name.begin(), name.end(), '_', '-');
  const auto where = [&] {
    return fmt::format("{}:{}:{}: {}", printable(path, 500), entry.at.line, entry.at.column, printable(entry.key));
  };
  const CLI::Option* option = find_option(command, name);
  if (option == nullptr || name == "config" || name == "help") {
    std::string hint = foreign_flag_hint("--" + name);
    if (hint.empty()) hint = did_you_mean(name, option_names(command));
    return usage_error("{}: no option of octavo serve{}", where(), hint);
  }
  const dialect::Node& value = entry.value;
  if (is_given(*option, given) || value.is_null()) return {};
  const bool flag = option->get_items_expected_max() == 0;
  if (flag) {
    const bool on = value.is_scalar() && is_true(value.text);
    if (!on && !(value.is_scalar() && is_false(value.text))) return usage_error("{}: must be true or false", where());
    if (on) out.push_back("--" + name);
    // A flag that is on by default has a name that turns it off.
    if (!on && find_option(command, "no-" + name) != nullptr) out.push_back("--no-" + name);
    return {};
  }
  if (value.is_map()) {
    out.push_back("--" + name);
    out.push_back(json_of(value).dump());
    return {};
  }
  if (value.is_scalar()) {
    // With "=", so that a value that begins with a dash stays a value.
    out.push_back("--" + name + "=" + value.text);
    return {};
  }
  out.push_back("--" + name);
  for (const dialect::Node& item : value.items) {
    if (!item.is_scalar()) return usage_error("{}: must be a list of values", where());
    out.push_back(item.text);
  }
  return {};
}

struct Foreign {
  std::string_view flag, hint;
};
constexpr auto kForeign = std::to_array<Foreign>({
    {"--model", "; here it is the first argument: octavo serve MODEL"},
    {"--model-path", "; here it is the first argument: octavo serve MODEL"},
    {"--tokenizer", "; the tokenizer of MODEL is taken"},
    {"--tokenizer-path", "; the tokenizer of MODEL is taken"},
    {"--revision", "; write MODEL@REVISION"},
    {"--context-length", "; it is --max-model-len here"},
    {"--max-running-requests", "; it is --max-num-seqs here"},
    {"--chunked-prefill-size", "; it is --max-num-batched-tokens here"},
    {"--max-prefill-tokens", "; it is --max-num-batched-tokens here"},
    {"--mem-fraction-static",
     "; it is --gpu-memory-utilization here: the KV cache's share of the memory that the "
     "weights leave"},
    {"--kv-cache-memory-bytes", "; it is --kv-memory here"},
    {"--max-total-tokens", "; give bytes of KV cache: --kv-memory"},
    {"--swap-space", "; nothing is swapped: leave it out"},
    {"--cpu-offload-gb", "; nothing is offloaded: leave it out"},
    {"--random-seed", "; it is --seed here"},
    {"--disable-radix-cache", "; it is --no-enable-prefix-caching here"},
    {"--tp", "; one process serves one machine: leave it out"},
    {"-tp", "; one process serves one machine: leave it out"},
    {"-pp", "; one process serves one machine: leave it out"},
    {"--pp-size", "; one process serves one machine: leave it out"},
    {"-dp", "; start one server for each replica"},
    {"--dp", "; start one server for each replica"},
    {"--api-server-count", "; one process takes all connections: leave it out"},
    {"--distributed-executor-backend", "; one process serves one machine: leave it out"},
    {"--disable-custom-all-reduce", "; one process serves one machine: leave it out"},
    {"--block-size", "; blocks of the KV cache have 16 tokens: leave it out"},
    {"--num-gpu-blocks-override", "; give bytes of KV cache: --kv-memory"},
    {"--enable-log-requests", "; requests are not logged: leave it out"},
    {"--no-enable-chunked-prefill", "; long prompts are always computed in pieces: leave it out"},
    {"--generation-config", "; that of MODEL is taken: leave it out"},
    {"--override-generation-config", "; requests say it: temperature, top_p and the like"},
    {"--compilation-config", "; nothing is compiled: leave it out"},
    {"-O", "; nothing is compiled: leave it out"},
    {"-O3", "; nothing is compiled: leave it out"},
    {"--task", "; text is generated, nothing else: leave it out"},
    {"--runner", "; text is generated, nothing else: leave it out"},
    {"--convert", "; text is generated, nothing else: leave it out"},
    {"--download-dir", "; the Hugging Face cache is used: HF_HOME says where it is"},
    {"--hf-token", "; HF_TOKEN in the environment says it"},
    {"--tokenizer-mode", "; the tokenizer of MODEL is taken: leave it out"},
    {"--limit-mm-per-prompt", "; models of text alone are served: leave it out"},
    {"--rope-scaling", "; config.json of MODEL says it"},
    {"--rope-theta", "; config.json of MODEL says it"},
    {"--logprobs-mode", "; requests say it"},
    {"--weight-transfer-config", "; weights come over HTTP or from folders, always: docs/rollout.md"},
    {"--worker-extension-cls", "; no Python runs here; the routes of docs/rollout.md change weights"},
    {"--disable-cuda-graph", "; there are none: leave it out"},
    {"--watchdog-timeout", "; there is none: leave it out"},
    {"--stream-interval", "; every token is streamed: leave it out"},
    {"--skip-server-warmup", "; there is none: leave it out"},
    {"--tp-size", "; one process serves one machine: leave it out"},
    {"--pipeline-parallel-size", "; one process serves one machine: leave it out"},
    {"--data-parallel-size", "; start one server for each replica"},
    {"--dp-size", "; start one server for each replica"},
    {"--enable-expert-parallel", "; one process serves one machine: leave it out"},
    {"--enable-auto-tool-choice",
     "; tools are told to the model if its template does so, its calls come back as text: leave it out"},
    {"--tool-call-parser", "; tools are told to the model, its calls come back as text: leave it out"},
    {"--reasoning-parser", "; reasoning comes back as text: leave it out"},
    {"--guided-decoding-backend", "; no output is forced into a form: leave it out"},
    {"--grammar-backend", "; no output is forced into a form: leave it out"},
    {"--speculative-config", "; tokens are not guessed ahead: leave it out"},
    {"--enable-lora", "; adapters are not applied: merge them into the model first"},
    {"--lora-modules", "; adapters are not applied: merge them into the model first"},
    {"--device", "; the machine's CPU is used: leave it out"},
    {"--attention-backend", "; kernels follow from the CPU: leave it out"},
    {"--ssl-keyfile", "; TLS is a proxy's work: put one before it"},
    {"--ssl-certfile", "; TLS is a proxy's work: put one before it"},
    {"--log-level", "; --quiet says less"},
    {"--uvicorn-log-level", "; --quiet says less"},
    {"--enable-memory-saver", "; memory can always be released: leave it out"},
    {"--enable-sleep-mode", "; memory can always be released: leave it out"},
    {"--enable-deterministic-inference", "; it always is: leave it out"},
    {"--skip-tokenizer-init", "; requests may carry ids in any case: leave it out"},
    {"--enable-metrics", "; /metrics is always there: leave it out"},
});

}  // namespace

std::string foreign_flag_hint(std::string_view flag) {
  for (const Foreign& known : kForeign) {
    if (known.flag == flag) return std::string(known.hint);
  }
  return "";
}

Result<std::vector<std::string>> expand_serve_config(const CLI::App& command, std::vector<std::string> arguments) {
  if (arguments.empty() || arguments.front() != "serve") return arguments;
  std::string path;
  std::vector<std::string> rest;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const bool alone = arguments[i] == "--config";
    const bool joined = arguments[i].starts_with("--config=");
    if (!alone && !joined) {
      rest.push_back(arguments[i]);
      continue;
    }
    if (!path.empty()) return usage_error("--config is given more than once");
    if (alone && i + 1 == arguments.size()) return usage_error("--config needs a value");
    path = alone ? arguments[++i] : arguments[i].substr(arguments[i].find('=') + 1);
    if (path.empty()) return usage_error("--config needs a value");
  }
  if (path.empty()) return arguments;

  OCTAVO_ASSIGN(const std::string text, read_text_file(path, kLargestFile));
  OCTAVO_ASSIGN(const dialect::Node root, dialect::parse_yaml(text, path));
  if (!root.is_map()) return usage_error("{}: must be a map of options", printable(path, 500));
  const auto language = dialect::recognise(root, path);
  if (language.ok() && (*language == dialect::Language::kRoll || *language == dialect::Language::kNemoRl)) {
    rest.push_back("--from=" + path);
    return rest;
  }
  std::vector<std::string> out = {"serve"};
  std::vector<std::string> flags;
  std::string model;
  std::string wrong;  // all of it, a line each
  for (const dialect::Entry& entry : root.entries) {
    if (entry.key == "model" && entry.value.is_scalar()) {
      model = entry.value.text;
      continue;
    }
    const Status added = add_flag(command, entry, path, rest, flags);
    if (!added.ok()) wrong += (wrong.empty() ? "" : "\n") + added.error().message;
  }
  if (!wrong.empty()) return usage_error("{}", wrong);
  // MODEL on the command line stands right behind `serve`, as vLLM wants it, too; else it is the file's.
  if (rest.size() < 2 || rest[1].starts_with("-")) {
    if (!model.empty()) out.push_back(model);
  } else {
    out.push_back(rest[1]);
    rest.erase(rest.begin() + 1);
  }
  out.insert(out.end(), flags.begin(), flags.end());
  out.insert(out.end(), rest.begin() + 1, rest.end());
  return out;
}

}  // namespace octavo::cli
