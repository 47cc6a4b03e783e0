// Reading the hub's model info; choosing files by name.
#include "octavo/checkpoint/hub/listing.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "octavo/base/json.h"
#include "octavo/base/text.h"
#include "octavo/checkpoint/hub/digest.h"
#include "octavo/checkpoint/hub/model_name.h"

namespace octavo::hub {
namespace {

std::string text_at(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}

std::optional<std::uint64_t> number_at(const Json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || !it->is_number_unsigned()) return std::nullopt;
  return it->get<std::uint64_t>();
}

RepoFile read_file(const Json& sibling, std::string name) {
  RepoFile out{std::move(name), number_at(sibling, "size"), text_at(sibling, "blobId")};
  if (const auto lfs = sibling.find("lfs"); lfs != sibling.end() && lfs->is_object()) {
    out.etag = text_at(*lfs, "sha256");
    if (const auto bytes = number_at(*lfs, "size")) out.bytes = bytes;
  }
  if (!is_checksum(out.etag)) out.etag.clear();
  return out;
}

constexpr const char* kSafetensorsIndex = "model.safetensors.index.json";
constexpr const char* kPytorchIndex = "pytorch_model.bin.index.json";

}  // namespace

const RepoFile* Listing::find(std::string_view name) const {
  const auto it = std::find_if(files.begin(), files.end(), [&](const RepoFile& f) { return f.name == name; });
  return it == files.end() ? nullptr : &*it;
}

Result<Listing> parse_listing(std::string_view json, std::string_view origin) {
  OCTAVO_ASSIGN(const Json root, parse_json(json, origin));
  if (!root.is_object()) return failure("{}: must be an object, not {}", origin, json_type_name(root));
  Listing out;
  out.commit = text_at(root, "sha");
  if (!is_commit(out.commit)) return failure("{}: \"sha\" is no commit: {}", origin, printable(out.commit));
  const auto siblings = root.find("siblings");
  if (siblings == root.end() || !siblings->is_array()) return failure("{}: has no list of files (siblings)", origin);
  std::set<std::string> seen;
  for (const Json& sibling : *siblings) {
    if (!sibling.is_object()) return failure("{}: siblings: must be objects", origin);
    std::string name = text_at(sibling, "rfilename");
    if (is_plain_file_name(name) && seen.insert(name).second) out.files.push_back(read_file(sibling, std::move(name)));
  }
  std::sort(out.files.begin(), out.files.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return out;
}

std::vector<std::string> small_files(const Listing& listing) {
  static constexpr std::array kSuffixes = {".json", ".jinja", ".model", ".txt", ".py", ".tiktoken"};
  static constexpr std::array kPrefixes = {"LICENSE", "NOTICE"};
  std::vector<std::string> out;
  for (const RepoFile& file : listing.files) {
    const std::string& name = file.name;
    if (name.front() == '.' || name.ends_with(".index.json")) continue;
    const bool taken =
        std::any_of(kSuffixes.begin(), kSuffixes.end(), [&](const char* suffix) { return name.ends_with(suffix); }) ||
        std::any_of(kPrefixes.begin(), kPrefixes.end(), [&](const char* prefix) { return name.starts_with(prefix); });
    if (taken) out.push_back(name);
  }
  return out;
}

Result<WeightChoice> choose_weights(const Listing& listing) {
  if (listing.find(kSafetensorsIndex) != nullptr) return WeightChoice{kSafetensorsIndex, {}};
  if (listing.find("model.safetensors") != nullptr) return WeightChoice{"", {"model.safetensors"}};
  std::vector<std::string> safetensors, gguf;
  for (const RepoFile& file : listing.files) {
    if (file.name.ends_with(".safetensors")) safetensors.push_back(file.name);
    if (file.name.ends_with(".gguf")) gguf.push_back(file.name);
  }
  if (safetensors.size() == 1) return WeightChoice{"", std::move(safetensors)};
  if (safetensors.size() > 1) {
    return failure("the repository has {} safetensors files but no {}: which of them are the model is not said",
                   safetensors.size(), kSafetensorsIndex);
  }
  if (listing.find(kPytorchIndex) != nullptr) return WeightChoice{kPytorchIndex, {}};
  if (listing.find("pytorch_model.bin") != nullptr) return WeightChoice{"", {"pytorch_model.bin"}};
  if (!gguf.empty()) {
    return failure(
        "the repository has weights in GGUF only ({}); download the file and run `octavo import FILE -o DIR`",
        printable(gguf.front()));
  }
  return failure("the repository has no weights that Octavo reads: no model.safetensors, no {}, no pytorch_model.bin",
                 kSafetensorsIndex);
}

}  // namespace octavo::hub
