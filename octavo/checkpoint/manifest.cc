// Records and manifests as JSON, and what sets two of them apart.
#include "octavo/checkpoint/manifest.h"

#include <algorithm>
#include <limits>
#include <unordered_map>

#include "octavo/base/text.h"

namespace octavo {
namespace {

Json record_json(const Record& record) {
  return {{"octavo", record.version},
          {"command", record.command},
          {"options", record.options},
          {"source", record.source},
          {"output", record.output}};
}

// The members of an object, each asked for once.
class Members {
 public:
  Members(const Json& object, std::string_view origin, std::string pointer = "")
      : object_(object), origin_(origin), pointer_(std::move(pointer)) {}

  Result<const Json*> find(const char* key) const {
    const auto it = object_.find(key);
    if (it == object_.end()) return failure("{}: {}/{} is missing", origin_, pointer_, key);
    return &*it;
  }
  Result<std::string> string(const char* key) const {
    OCTAVO_ASSIGN(const Json* value, find(key));
    if (!value->is_string()) return wrong(key, "a string", *value);
    return value->get<std::string>();
  }
  Result<std::uint64_t> natural(const char* key, std::uint64_t most) const {
    OCTAVO_ASSIGN(const Json* value, find(key));
    if (!value->is_number_unsigned()) return wrong(key, "a natural number", *value);
    const auto number = value->get<std::uint64_t>();
    if (number > most) return failure("{}: {}/{} is {}, at most {} can be", origin_, pointer_, key, number, most);
    return number;
  }
  Error wrong(const char* key, std::string_view wanted, const Json& value) const {
    return failure("{}: {}/{} must be {}, not {}", origin_, pointer_, key, wanted, json_type_name(value));
  }

 private:
  const Json& object_;
  std::string_view origin_;
  std::string pointer_;
};

Result<Record> read_record(const Json& root, std::string_view origin) {
  if (!root.is_object()) return failure("{}: must be an object, not {}", origin, json_type_name(root));
  const Members members(root, origin);
  Record record;
  OCTAVO_ASSIGN(record.version, members.string("octavo"));
  OCTAVO_ASSIGN(record.command, members.string("command"));
  OCTAVO_ASSIGN(const Json* options, members.find("options"));
  if (!options->is_object()) return members.wrong("options", "an object", *options);
  record.options = *options;
  OCTAVO_ASSIGN(record.source, members.string("source"));
  OCTAVO_ASSIGN(record.output, members.string("output"));
  return record;
}

std::optional<std::string> options_difference(const Json& begun, const Json& now) {
  const auto text = [](const Json& object, const std::string& key) {
    const auto it = object.find(key);
    return it == object.end() ? std::string("none") : printable(it->dump());
  };
  for (const Json* side : {&now, &begun}) {
    for (const auto& [key, value] : side->items()) {
      const std::string was = text(begun, key), is = text(now, key);
      if (was != is) return fmt::format("{} {}, not {}", printable(key), was, is);
    }
  }
  return std::nullopt;
}

}  // namespace

std::string format_record(const Record& record) { return record_json(record).dump(2) + "\n"; }

std::string format_manifest(const Manifest& manifest) {
  Json root = record_json(manifest.record);
  root["parts"] = manifest.parts;
  root["units"] = manifest.units;
  Json& files = root["files"] = Json::array();
  for (const SourceFile& file : manifest.files) {
    files.push_back({{"name", file.name}, {"bytes", file.state.bytes}, {"modified_ns", file.state.modified_ns}});
  }
  return root.dump(2) + "\n";
}

Result<Record> parse_record(std::string_view text, std::string_view origin) {
  OCTAVO_ASSIGN(const Json root, parse_json(text, origin));
  return read_record(root, origin);
}

Result<Manifest> parse_manifest(std::string_view text, std::string_view origin) {
  OCTAVO_ASSIGN(const Json root, parse_json(text, origin));
  Manifest manifest;
  OCTAVO_ASSIGN(manifest.record, read_record(root, origin));
  const Members members(root, origin);
  constexpr std::uint64_t kMost32 = std::numeric_limits<std::uint32_t>::max();
  OCTAVO_ASSIGN(const std::uint64_t parts, members.natural("parts", kMost32));
  manifest.parts = static_cast<std::uint32_t>(parts);
  OCTAVO_ASSIGN(manifest.units, members.natural("units", kMost32));
  OCTAVO_ASSIGN(const Json* files, members.find("files"));
  if (!files->is_array()) return members.wrong("files", "a list", *files);
  for (std::size_t i = 0; i < files->size(); ++i) {
    const Json& entry = (*files)[i];
    std::string pointer = fmt::format("/files/{}", i);
    if (!entry.is_object()) return failure("{}: {} must be an object, not {}", origin, pointer, json_type_name(entry));
    const Members file(entry, origin, std::move(pointer));
    SourceFile& out = manifest.files.emplace_back();
    OCTAVO_ASSIGN(out.name, file.string("name"));
    OCTAVO_ASSIGN(out.state.bytes, file.natural("bytes", std::numeric_limits<std::uint64_t>::max()));
    OCTAVO_ASSIGN(const Json* modified, file.find("modified_ns"));
    if (!modified->is_number_integer()) return file.wrong("modified_ns", "an integer", *modified);
    out.state.modified_ns = modified->get<std::int64_t>();
  }
  return manifest;
}

std::optional<std::string> record_difference(const Record& begun, const Record& now, bool versions) {
  if (begun.command != now.command) {
    return fmt::format("command {}, not {}", printable(begun.command), printable(now.command));
  }
  if (auto difference = options_difference(begun.options, now.options)) return difference;
  if (versions && begun.version != now.version) {
    return fmt::format("octavo {}, not {}", printable(begun.version), printable(now.version));
  }
  if (begun.source != now.source) return "another source: its tensors or its config.json differ";
  if (begun.output != now.output) return "another layout of the output";
  return std::nullopt;
}

std::optional<std::string> manifest_difference(const Manifest& begun, const Manifest& now) {
  if (auto difference = record_difference(begun.record, now.record, true)) return difference;
  if (begun.parts != now.parts) return fmt::format("{} part(s), not {}", begun.parts, now.parts);
  if (begun.units != now.units) return "another layout of the output";
  std::unordered_map<std::string_view, const FileState*> states;
  for (const SourceFile& file : begun.files) states.emplace(file.name, &file.state);
  for (const SourceFile& file : now.files) {
    const auto it = states.find(file.name);
    if (it == states.end()) return fmt::format("a source without {}", printable(file.name));
    if (it->second->bytes != file.state.bytes) {
      return fmt::format("another source: {} had {} bytes, not {}", printable(file.name), it->second->bytes,
                         file.state.bytes);
    }
    if (it->second->modified_ns != file.state.modified_ns) {
      return fmt::format("another source: {} was modified since", printable(file.name));
    }
  }
  if (begun.files.size() != now.files.size()) return "a source with more files";
  return std::nullopt;
}

}  // namespace octavo
