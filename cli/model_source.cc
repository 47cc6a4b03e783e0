// Environment to hub options; names to folders.
#include "cli/model_source.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <system_error>

#include "cli/interrupt.h"
#include "cli/progress_bar.h"
#include "octavo/base/text.h"

namespace octavo::cli {
namespace {

namespace fs = std::filesystem;

// "" for a variable that is not set: none of these means anything when it is empty.
std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string first_of(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (std::string value = variable(name); !value.empty()) return value;
  }
  return "";
}

bool is_true(std::string value) {
  for (char& c : value) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
}

// "~/x", "$NAME/x", "${NAME}/x", as Python's expanduser and expandvars; what is not set stays.
fs::path expand(std::string text) {
  if (text == "~" || text.starts_with("~/")) text = variable("HOME") + text.substr(1);
  const auto is_name = [](char c) { return c == '_' || std::isalnum(static_cast<unsigned char>(c)) != 0; };
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const bool braced = text.compare(at, 2, "${") == 0;
    const std::size_t begin = at + (braced ? 2 : 1);
    std::size_t end = begin;
    while (text[at] == '$' && end < text.size() && is_name(text[end])) ++end;
    const bool closed = !braced || (end < text.size() && text[end] == '}');
    const char* value = end > begin && closed ? std::getenv(text.substr(begin, end - begin).c_str()) : nullptr;
    if (value == nullptr) {
      out += text[at++];
    } else {
      out += value;
      at = end + (braced ? 1 : 0);
    }
  }
  return out;
}

std::string clean_token(std::string token) {
  std::erase_if(token, [](char c) { return c == '\r' || c == '\n'; });
  const std::size_t begin = token.find_first_not_of(" \t");
  if (begin == token.npos) return "";
  return token.substr(begin, token.find_last_not_of(" \t") - begin + 1);
}

Status read_token(hub::Options& out) {
  if (is_true(variable("HF_HUB_DISABLE_IMPLICIT_TOKEN"))) return {};
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}) {
    out.token = clean_token(variable(name));
    out.token_source = name;
    if (!out.token.empty()) break;
  }
  std::error_code absent;
  if (out.token.empty() && fs::exists(out.token_path, absent)) {
    constexpr std::uint64_t kLongest = 64 << 10;
    OCTAVO_ASSIGN(std::string text, read_text_file(out.token_path, kLongest));
    out.token = clean_token(std::move(text));
    out.token_source = out.token_path.string();
  }
  const bool sound = std::all_of(out.token.begin(), out.token.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (!sound) return failure("{}: the token has characters that no token has", out.token_source);
  return {};
}

Result<fs::path> download(const std::string& model, const hub::ModelName& name, std::string_view command, bool quiet,
                          Wanted wanted) {
  OCTAVO_ASSIGN(hub::Options options, hub_options());
  const InterruptScope interrupts;
  options.stop = &interrupt_signal();
  Result<hub::Snapshot> snapshot = [&] {
    ProgressBar bar("download", 0, quiet || isatty(STDERR_FILENO) == 0);
    std::uint64_t total = 0;
    options.progress = &bar;
    options.total = [&](std::uint64_t bytes) { bar.set_total(total += bytes); };
    options.warn = [&](std::string_view sentence) {
      const char* clear = isatty(STDERR_FILENO) != 0 ? "\r\x1b[K" : "";  // what the bar has drawn
      fmt::print(stderr, "{}octavo {}: warning: {}: {}\n", clear, command, name.text(), sentence);
    };
    return hub::open_snapshot(name, wanted, options);
  }();
  if (snapshot.ok()) {
    if (snapshot->received > 0 && !quiet) {
      fmt::print(stderr, "octavo {}: {}: {} downloaded to {}\n", command, name.text(), human_bytes(snapshot->received),
                 snapshot->folder.string());
    }
    return std::move(snapshot->folder);
  }
  Error error = std::move(snapshot).error();
  if (error.kind == ErrorKind::kUsage) return error;
  if (error.kind == ErrorKind::kInterrupted) {
    const int signal = interrupt_signal().load();
    error.message = fmt::format("stopped by {}; what came of {} is kept, and the same command goes on from there",
                                signal == SIGINT    ? "SIGINT"
                                : signal == SIGTERM ? "SIGTERM"
                                                    : "SIGHUP",
                                model);
    return error;
  }
  return std::move(error).context(fmt::format("{} (no folder here, so a model's name)", model));
}

}  // namespace

Result<hub::Options> hub_options() {
  hub::Options out;
  if (std::string endpoint = variable("HF_ENDPOINT"); !endpoint.empty()) out.endpoint = std::move(endpoint);
  while (out.endpoint.ends_with('/')) out.endpoint.pop_back();
  std::string home = variable("HF_HOME");
  if (home.empty()) {
    const std::string cache = variable("XDG_CACHE_HOME");
    home = (cache.empty() ? "~/.cache" : cache) + "/huggingface";
  }
  const fs::path folder = expand(home);
  const std::string cache = first_of({"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"});
  out.cache = cache.empty() ? folder / "hub" : expand(cache);
  const std::string token_path = variable("HF_TOKEN_PATH");
  out.token_path = token_path.empty() ? folder / "token" : expand(token_path);
  OCTAVO_TRY(read_token(out));
  out.offline = is_true(first_of({"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}));
  out.ca_file = first_of({"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"});
  if (const std::string seconds = variable("HF_HUB_DOWNLOAD_TIMEOUT"); !seconds.empty()) {
    int value = 0;
    const auto [end, error] = std::from_chars(seconds.data(), seconds.data() + seconds.size(), value);
    constexpr int kMost = 86'400;
    if (error != std::errc() || end != seconds.data() + seconds.size() || value < 1 || value > kMost) {
      return usage_error("HF_HUB_DOWNLOAD_TIMEOUT {}: must be a whole number of seconds", printable(seconds));
    }
    out.stall_timeout = std::chrono::seconds(value);
  }
  return out;
}

Result<fs::path> find_model(const std::string& model, std::string_view command, bool quiet, Wanted wanted) {
  std::error_code ignored;
  const auto name = hub::parse_model_name(model);
  if (!name || fs::exists(fs::symlink_status(model, ignored))) return fs::path(model);
  if (name->repo.find('/') == name->repo.npos) {
    const auto options = hub_options();
    if (!options.ok() || !hub::is_in_cache(name->repo, options->cache)) return fs::path(model);
  }
  return download(model, *name, command, quiet, wanted);
}

Result<Checkpoint> open_model(const std::string& model, std::string_view command, bool quiet) {
  OCTAVO_ASSIGN(const fs::path folder, find_model(model, command, quiet));
  return Checkpoint::open(folder);
}

}  // namespace octavo::cli
