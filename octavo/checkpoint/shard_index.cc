// model.safetensors.index.json, read as a stream of events: 90,000 tensors never become a tree.
#include <optional>
#include <unordered_map>

#include "octavo/base/json.h"
#include "octavo/base/name_table.h"
#include "octavo/base/text.h"
#include "octavo/checkpoint/safetensors.h"

namespace octavo {
namespace {

Status check_shard_name(std::string_view name, std::string_view suffix, std::string_view tensor) {
  const bool leaves = name.find('/') != name.npos || name.find('\\') != name.npos || name.find('\0') != name.npos;
  if (leaves) {
    return failure("weight_map: tensor \"{}\" points outside the folder: \"{}\"", printable(tensor), printable(name));
  }
  if (!name.ends_with(suffix) || name.size() == suffix.size()) {
    return failure("weight_map: tensor \"{}\": \"{}\" is not a {} file", printable(tensor), printable(name), suffix);
  }
  return {};
}

class IndexEvents final : public JsonEvents {
 public:
  explicit IndexEvents(std::string_view suffix) : suffix_(suffix) {}

  ShardIndex index;
  bool has_weight_map = false;

  Status null() override { return scalar("null"); }
  Status boolean(bool) override { return scalar("a boolean"); }
  Status integer(std::int64_t) override { return scalar("a number"); }
  Status natural(std::uint64_t value) override {
    if (depth_ == 2 && section_ == "metadata" && key_ == "total_size") index.total_size = value;
    return scalar("a number");
  }
  Status real(double value) override {
    // Some writers print total_size as 16060522496.0.
    if (depth_ == 2 && section_ == "metadata" && key_ == "total_size" && value >= 0 && value < 0x1p63) {
      index.total_size = static_cast<std::uint64_t>(value);
    }
    return scalar("a number");
  }
  Status string(std::string& value) override {
    if (!(depth_ == 2 && section_ == "weight_map")) return scalar("a string");
    OCTAVO_TRY(check_shard_name(value, suffix_, key_));
    const auto [it, added] = shard_numbers_.try_emplace(value, static_cast<std::uint32_t>(index.shards.size()));
    if (added) index.shards.push_back(value);
    const auto number = static_cast<std::uint32_t>(index.weight_map.size());
    const auto name_of = [this](std::uint32_t i) -> std::string_view { return index.weight_map[i].first; };
    if (!tensors_.add(key_, number, name_of)) {
      return failure("tensor \"{}\" appears twice in weight_map", printable(key_));
    }
    index.weight_map.emplace_back(std::move(key_), it->second);
    return {};
  }
  Status begin_object() override {
    if (depth_ == 1 && section_ == "weight_map") {
      if (has_weight_map) return failure("weight_map appears twice");
      has_weight_map = true;
    } else if (section_ == "weight_map" && depth_ >= 2) {
      return failure("weight_map: \"{}\" must be a file name, not an object", printable(key_));
    }
    ++depth_;
    return {};
  }
  Status key(std::string& key) override {
    (depth_ == 1 ? section_ : key_) = std::move(key);
    return {};
  }
  Status end_object() override {
    --depth_;
    return {};
  }
  Status begin_array() override {
    OCTAVO_TRY(scalar("a list"));
    ++depth_;
    return {};
  }
  Status end_array() override {
    --depth_;
    return {};
  }

 private:
  Status scalar(std::string_view what) const {
    if (depth_ == 0) return failure("the index must be an object, not {}", what);
    if (section_ != "weight_map") return {};
    if (depth_ == 1) return failure("weight_map must be an object, not {}", what);
    return failure("weight_map: \"{}\" must be a file name, not {}", printable(key_), what);
  }

  std::string_view suffix_;  // of the shards' names
  int depth_ = 0;
  std::string section_, key_;
  std::unordered_map<std::string, std::uint32_t> shard_numbers_;
  NameTable tensors_;
};

}  // namespace

Result<ShardIndex> parse_shard_index(const JsonRange& json, std::string_view origin, std::string_view suffix) {
  constexpr int kDepth = 16;  // metadata may nest
  IndexEvents events(suffix);
  OCTAVO_TRY(parse_json_events(json, origin, kDepth, events));
  if (!events.has_weight_map) return failure("{}: has no weight_map", origin);
  if (events.index.weight_map.empty()) return failure("{}: weight_map is empty", origin);
  return std::move(events.index);
}

Result<ShardIndex> parse_shard_index(std::string_view json, std::string_view origin) {
  const MemorySource source(as_bytes(json));
  JsonRange range{source};
  range.length = json.size();
  return parse_shard_index(range, origin);
}

Status write_shard_index(std::uint64_t total_size, std::size_t count, const IndexEntryAt& entry, const TextSink& sink) {
  BufferedText out(sink);
  out.text() = fmt::format("{{\n  \"metadata\": {{\n    \"total_size\": {}\n  }},\n  \"weight_map\": {{", total_size);
  for (std::size_t i = 0; i < count; ++i) {
    const auto [tensor, shard] = entry(i);
    out.text() += i == 0 ? "\n    " : ",\n    ";
    append_json_string(out.text(), tensor);
    out.text() += ": ";
    append_json_string(out.text(), shard);
    OCTAVO_TRY(out.more());
  }
  out.text() += count == 0 ? "}\n}\n" : "\n  }\n}\n";
  return out.finish();
}

std::string format_shard_index(std::uint64_t total_size, const std::map<std::string, std::string>& weight_map) {
  auto at = weight_map.begin();
  const IndexEntryAt next = [&](std::size_t) {
    const auto& [tensor, shard] = *at++;
    return std::pair<std::string_view, std::string_view>(tensor, shard);
  };
  std::string text;
  const TextSink sink = [&](std::string_view part) -> Status {
    text += part;
    return {};
  };
  // Only the sink can fail.
  (void)write_shard_index(total_size, weight_map.size(), next, sink);
  return text;
}

}  // namespace octavo
