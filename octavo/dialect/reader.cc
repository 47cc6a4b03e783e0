// Getters, the books of the keys, interpolation.
#include "octavo/dialect/reader.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <tuple>

#include "octavo/base/text.h"

namespace octavo::dialect {
namespace {

constexpr std::size_t kLongestText = 4096;  // of a path, a pattern or a name

std::string join_path(std::string_view parent, std::string_view key) {
  return parent.empty() ? std::string(key) : fmt::format("{}.{}", parent, key);
}

// YAML 1.1, as Python and OmegaConf read it.
std::optional<bool> as_boolean(const Node& node) {
  if (node.quoted) return std::nullopt;
  std::string lower = node.text;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  if (lower == "true" || lower == "yes" || lower == "on") return true;
  if (lower == "false" || lower == "no" || lower == "off") return false;
  return std::nullopt;
}

std::optional<std::int64_t> as_integer(const Node& node) {
  if (node.quoted) return std::nullopt;
  std::int64_t value = 0;
  const char* const last = node.text.data() + node.text.size();
  const auto [end, error] = std::from_chars(node.text.data(), last, value);
  if (error != std::errc() || end != last) return std::nullopt;
  return value;
}

// The keys on the way to "a.b", or to "..b", which goes up from where `path` stands: one dot is its own map.
std::vector<std::string> reference(std::string_view text, const std::string& path) {
  std::vector<std::string> out;
  std::size_t up = 0;
  while (up < text.size() && text[up] == '.') ++up;
  if (up > 0) {
    for (const std::string_view part : split(path, '.')) out.emplace_back(part);
    out.resize(out.size() - std::min(up, out.size()));
  }
  for (const std::string_view part : split(text.substr(up), '.')) out.emplace_back(part);
  return out;
}

}  // namespace

std::string shown(std::string_view text) { return printable(text, 100); }

// ---- Section

std::string Section::join(std::string_view key) const { return join_path(path_, printable(key)); }

bool Section::has(std::string_view key) const {
  if (node_ == nullptr) return false;
  reader_->know(node_, key);
  const Node* found = node_->find(key);
  return found != nullptr && !found->is_null();
}

std::string Section::where(std::string_view key) const {
  Position at = at_;
  if (node_ != nullptr) {
    for (const Entry& entry : node_->entries) {
      if (entry.key == key) at = entry.at;
    }
  }
  return fmt::format("{}: {}", reader_->place(at), join(key));
}

const Node* Section::value(std::string_view key) const {
  if (node_ == nullptr) return nullptr;
  reader_->know(node_, key);
  const Node* found = node_->find(key);
  if (found == nullptr) return nullptr;
  reader_->mark(node_, key, KeyUse::kUsed);
  if (found->is_null()) return nullptr;
  return reader_->resolve(found, join(key));
}

std::optional<std::string> Section::text(std::string_view key) const {
  const Node* node = value(key);
  if (node == nullptr) return std::nullopt;
  if (!node->is_scalar()) {
    error(key, fmt::format("must be text, not {}", kind_name(*node)));
    return std::nullopt;
  }
  if (node->text.size() > kLongestText) {
    error(key, fmt::format("is longer than {} bytes", kLongestText));
    return std::nullopt;
  }
  return node->text;
}

std::optional<std::string> Section::one_of(std::string_view key, const std::vector<std::string>& names) const {
  const auto found = text(key);
  if (!found || std::find(names.begin(), names.end(), *found) != names.end()) return found;
  error(key,
        fmt::format("{}: unknown; one of {}{}", shown(*found), fmt::join(names, ", "), did_you_mean(*found, names, 1)));
  return std::nullopt;
}

std::optional<bool> Section::boolean(std::string_view key) const {
  const Node* node = value(key);
  if (node == nullptr) return std::nullopt;
  const auto found = node->is_scalar() ? as_boolean(*node) : std::nullopt;
  if (!found) error(key, fmt::format("must be true or false{}", node->is_scalar() ? ", not " + shown(node->text) : ""));
  return found;
}

std::optional<std::int64_t> Section::integer(std::string_view key, std::int64_t least, std::int64_t most) const {
  const Node* node = value(key);
  if (node == nullptr) return std::nullopt;
  const auto found = node->is_scalar() ? as_integer(*node) : std::nullopt;
  if (!found || *found < least || *found > most) {
    error(key, fmt::format("must be a whole number of {} to {}{}", least, most,
                           node->is_scalar() ? ", not " + shown(node->text) : ""));
    return std::nullopt;
  }
  return found;
}

std::optional<std::vector<Text>> Section::texts(std::string_view key, bool single) const {
  const Node* node = value(key);
  if (node == nullptr) return std::nullopt;
  if (single && node->is_scalar()) return std::vector<Text>{{node->text, node->at}};
  if (!node->is_list()) {
    error(key, fmt::format("must be a list{}, not {}", single ? " or text" : "", kind_name(*node)));
    return std::nullopt;
  }
  std::vector<Text> out;
  for (std::size_t i = 0; i < node->items.size(); ++i) {
    const Node* item = reader_->resolve(&node->items[i], fmt::format("{}[{}]", join(key), i));
    if (item == nullptr) return std::nullopt;
    if (!item->is_scalar() || item->text.empty() || item->text.size() > kLongestText) {
      reader_->mark(node_, key, KeyUse::kRefused);
      reader_->error(node->items[i].at, fmt::format("{}[{}]", join(key), i),
                     item->is_scalar() ? "must not be empty, nor longer than 4096 bytes"
                                       : fmt::format("must be text, not {}", kind_name(*item)));
      return std::nullopt;
    }
    out.push_back({item->text, item->at});
  }
  return out;
}

std::optional<std::vector<std::int64_t>> Section::integers(std::string_view key, std::int64_t least,
                                                           std::int64_t most) const {
  const Node* node = value(key);
  if (node == nullptr) return std::nullopt;
  std::vector<std::int64_t> out;
  bool good = node->is_list();
  for (const Node& item : node->items) {
    const auto number = item.is_scalar() ? as_integer(item) : std::nullopt;
    good = good && number && *number >= least && *number <= most;
    if (good) out.push_back(*number);
  }
  if (good) return out;
  error(key, fmt::format("must be a list of whole numbers of {} to {}", least, most));
  return std::nullopt;
}

Section Section::section(std::string_view key) const {
  const Node* node = value(key);
  const Position at = node != nullptr ? node->at : at_;
  if (node != nullptr && !node->is_map()) {
    error(key, fmt::format("must be a map, not {}", kind_name(*node)));
    node = nullptr;
  }
  if (node != nullptr) reader_->maps_[node].path = join(key);
  return Section(reader_, node, join(key), at);
}

std::vector<Section> Section::sections(std::string_view key) const {
  const Node* node = value(key);
  std::vector<Section> out;
  if (node == nullptr) return out;
  if (!node->is_list()) {
    error(key, fmt::format("must be a list, not {}", kind_name(*node)));
    return out;
  }
  for (std::size_t i = 0; i < node->items.size(); ++i) {
    const Node& item = node->items[i];
    const std::string path = fmt::format("{}[{}]", join(key), i);
    if (!item.is_map()) {
      reader_->mark(node_, key, KeyUse::kRefused);
      reader_->error(item.at, path, fmt::format("must be a map, not {}", kind_name(item)));
      continue;
    }
    reader_->maps_[&item].path = path;
    out.push_back(Section(reader_, &item, path, item.at));
  }
  return out;
}

std::vector<std::string> Section::keys() const {
  std::vector<std::string> out;
  if (node_ == nullptr) return out;
  for (const Entry& entry : node_->entries) out.push_back(entry.key);
  return out;
}

bool Section::is_map(std::string_view key) const {
  const Node* node = has(key) ? node_->find(key) : nullptr;
  return node != nullptr && node->is_map();
}

bool Section::is_list(std::string_view key) const {
  const Node* node = has(key) ? node_->find(key) : nullptr;
  return node != nullptr && node->is_list();
}

void Section::meaningless(std::initializer_list<std::string_view> keys) const {
  meaningless(std::vector<std::string_view>(keys));
}

void Section::meaningless(const std::vector<std::string_view>& keys) const {
  if (node_ == nullptr) return;
  for (const std::string_view key : keys) {
    reader_->maps_[node_].foreign.emplace_back(key);
    if (node_->find(key) != nullptr) reader_->maps_[node_].uses.try_emplace(std::string(key), KeyUse::kMeaningless);
  }
}

void Section::decides_nothing(std::string_view key) const {
  if (node_ != nullptr && node_->find(key) != nullptr) reader_->mark(node_, key, KeyUse::kMeaningless);
}

void Section::tolerate_unknown() const {
  if (node_ != nullptr) reader_->maps_[node_].tolerant = true;
}

void Section::error(std::string_view key, std::string_view sentence) const {
  Position at = at_;
  if (const Node* found = node_ != nullptr ? node_->find(key) : nullptr; found != nullptr) {
    at = found->at;
    reader_->mark(node_, key, KeyUse::kRefused);
  }
  reader_->error(at, join(key), sentence);
}

void Section::error_at(const Text& item, std::string_view key, std::string_view sentence) const {
  if (node_ != nullptr && node_->find(key) != nullptr) reader_->mark(node_, key, KeyUse::kRefused);
  reader_->error(item.at, join(key), sentence);
}

void Section::require(std::string_view key, std::string_view why) const {
  if (!has(key)) error(key, fmt::format("is missing: {}", why));
}

// ---- Reader

Reader::Reader(const Node& root, std::vector<std::string> origins, bool interpolates)
    : root_(root), origins_(std::move(origins)), interpolates_(interpolates) {}

std::string Reader::place(Position at) const {
  return fmt::format("{}:{}:{}", printable(origins_[static_cast<std::size_t>(at.file)], 500), at.line, at.column);
}

Section Reader::root() {
  if (!root_.is_map()) {
    error(root_.at, "", fmt::format("the document must be a map of keys, not {}", kind_name(root_)));
    return Section(this, nullptr, "", root_.at);
  }
  maps_[&root_];
  return Section(this, &root_, "", root_.at);
}

void Reader::note(std::string text) {
  if (std::find(notes_.begin(), notes_.end(), text) == notes_.end()) notes_.push_back(std::move(text));
}
void Reader::warn(std::string text) {
  if (std::find(warnings_.begin(), warnings_.end(), text) == warnings_.end()) warnings_.push_back(std::move(text));
}

void Reader::error(Position at, std::string_view path, std::string_view sentence) {
  constexpr std::size_t kLongestPath = 300;
  const std::string name = path.empty() ? std::string() : printable(path, kLongestPath) + ": ";
  errors_.push_back({at, fmt::format("{}: {}{}", place(at), name, sentence)});
}

void Reader::know(const Node* map, std::string_view key) {
  auto& known = maps_[map].known;
  if (std::find(known.begin(), known.end(), key) == known.end()) known.emplace_back(key);
}

void Reader::mark(const Node* map, std::string_view key, KeyUse use) {
  KeyUse& now = maps_[map].uses.try_emplace(std::string(key), use).first->second;
  if (now != KeyUse::kRefused) now = use;
}

// "${a.b}" is the value at a.b; whatever else OmegaConf can compute is not computed here.
const Node* Reader::resolve(const Node* node, const std::string& path) {
  constexpr int kMostSteps = 16;
  const Node* now = node;
  for (int step = 0; interpolates_ && now->is_scalar() && now->text.find("${") != std::string::npos; ++step) {
    const std::string_view text = now->text;
    const Node* target = nullptr;
    if (step < kMostSteps && text.starts_with("${") && text.ends_with("}")) {
      target = &root_;
      for (const std::string& part : reference(text.substr(2, text.size() - 3), path)) {
        const Node* parent = target;
        target = parent != nullptr && parent->is_map() ? parent->find(part) : nullptr;
        if (target != nullptr && !target->is_map()) mark(parent, part, KeyUse::kUsed);
      }
    }
    if (target == nullptr || target->is_null()) {
      error(node->at, path, fmt::format("{} cannot be looked up in this file; write the value itself", shown(text)));
      return nullptr;
    }
    now = target;
  }
  return now;
}

void Reader::walk(const Node& node, const std::string& path, Config& config) {
  if (node.is_list()) {
    for (std::size_t i = 0; i < node.items.size(); ++i) walk(node.items[i], fmt::format("{}[{}]", path, i), config);
  } else if (node.is_map()) {
    const auto it = maps_.find(&node);
    if (it != maps_.end()) check_map(node, it->second, config);
  }
}

void Reader::check_map(const Node& map, const MapState& state, Config& config) {
  for (const Entry& entry : map.entries) {
    const std::string path = join_path(state.path, printable(entry.key));
    const auto use = state.uses.find(entry.key);
    if (use != state.uses.end()) {
      config.keys.push_back({path, entry.at, use->second});
      if (use->second != KeyUse::kMeaningless) walk(entry.value, path, config);
      continue;
    }
    if (std::find(state.known.begin(), state.known.end(), entry.key) != state.known.end()) {
      config.keys.push_back({path, entry.at, KeyUse::kUsed});  // looked for, and null
      continue;
    }
    std::vector<std::string> names = state.known;
    if (!state.tolerant) names.insert(names.end(), state.foreign.begin(), state.foreign.end());
    const std::string suggestion = did_you_mean(entry.key, names, 1);
    if (state.tolerant && suggestion.empty()) {
      config.keys.push_back({path, entry.at, KeyUse::kMeaningless});
      continue;
    }
    config.keys.push_back({path, entry.at, KeyUse::kRefused});
    error(entry.at, path, "unknown key" + suggestion);
  }
}

void Reader::finish(Config& config) {
  walk(root_, "", config);
  const auto before = [](const auto& a, const auto& b) {
    return std::tuple(a.at.file, a.at.line, a.at.column) < std::tuple(b.at.file, b.at.line, b.at.column);
  };
  std::stable_sort(errors_.begin(), errors_.end(), before);
  std::stable_sort(config.keys.begin(), config.keys.end(), before);
  for (Found& found : errors_) {
    if (std::find(config.errors.begin(), config.errors.end(), found.text) == config.errors.end()) {
      config.errors.push_back(std::move(found.text));
    }
  }
  config.notes = std::move(notes_);
  config.warnings = std::move(warnings_);
  if (!config.errors.empty()) config.meanings.clear();
}

}  // namespace octavo::dialect
