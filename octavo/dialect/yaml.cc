// yaml-cpp's events to a tree. yaml-cpp throws; nothing leaves this file but a Result.
#include "octavo/dialect/yaml.h"

#include <yaml-cpp/anchor.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <sstream>
#include <unordered_set>

#include "octavo/base/text.h"

namespace octavo::dialect {
namespace {

// Ends the parse from inside an event; the builder has the error.
struct Stopped {};

Position position_in(int file, const YAML::Mark& mark) { return {mark.line + 1, mark.column + 1, file}; }

class Builder final : public YAML::EventHandler {
 public:
  Builder(const YamlLimits& limits, int file) : limits_(limits), file_(file) {}

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Node node;
    node.at = position(mark);
    add(std::move(node), anchor);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    Node node;
    node.kind = Node::Kind::kScalar;
    node.at = position(mark);
    node.quoted = tag == "!" || tag == "tag:yaml.org,2002:str";
    check_tag(mark, tag);
    if (!node.quoted && is_null_text(value) && !expects_key()) {
      node.kind = Node::Kind::kNull;
    } else {
      node.text = value;
    }
    add(std::move(node), anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto it = anchors_.find(anchor);
    if (it == anchors_.end()) stop(position(mark), "an alias stands inside what it names");
    count(it->second.nodes, it->second.bytes, position(mark));
    place(it->second.node);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(Node::Kind::kList, mark, tag, anchor);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(Node::Kind::kMap, mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override { close(); }

  std::optional<Node> root;
  Position where;       // of the error
  std::string message;  // when Stopped was thrown

 private:
  struct Frame {
    Node node;
    YAML::anchor_t anchor = 0;
    bool has_key = false;
    std::string key;
    Position key_at;
    std::unordered_set<std::string> seen;
    std::uint64_t nodes_before = 0, bytes_before = 0;
  };
  struct Anchored {
    Node node;
    std::uint64_t nodes = 0, bytes = 0;
  };

  Position position(const YAML::Mark& mark) const { return position_in(file_, mark); }

  [[noreturn]] void stop(Position at, std::string what) {
    where = at;
    message = std::move(what);
    throw Stopped();
  }
  bool expects_key() const { return !stack_.empty() && stack_.back().node.is_map() && !stack_.back().has_key; }

  void check_tag(const YAML::Mark& mark, const std::string& tag) {
    static constexpr std::array kKnown = {
        "", "?", "!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"};
    if (std::find(kKnown.begin(), kKnown.end(), tag) != kKnown.end()) return;
    stop(position(mark), fmt::format("the tag {} is not read; write the plain value", printable(tag)));
  }
  // What has been made so far; before it is made, where it is a copy.
  void count(std::uint64_t nodes, std::uint64_t bytes, Position at) {
    nodes_ += nodes;
    bytes_ += bytes;
    if (nodes_ > limits_.nodes) stop(at, fmt::format("more than {} values, aliases expanded", limits_.nodes));
    if (bytes_ > limits_.bytes) {
      stop(at, fmt::format("more than {} of text, aliases expanded", human_bytes(limits_.bytes)));
    }
  }
  // Keeps a copy of what an alias may name later; the copies stay within the same limits.
  void keep(YAML::anchor_t anchor, const Node& node, std::uint64_t nodes, std::uint64_t bytes) {
    if (anchor == 0) return;
    kept_nodes_ += nodes;
    kept_bytes_ += bytes;
    if (kept_nodes_ > limits_.nodes || kept_bytes_ > limits_.bytes) stop(node.at, "too much lies under anchors (&)");
    anchors_[anchor] = {node, nodes, bytes};
  }

  void open(Node::Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    check_tag(mark, tag);
    if (expects_key()) stop(position(mark), "a key must be a plain name");
    if (static_cast<int>(stack_.size()) >= limits_.depth) {
      stop(position(mark), fmt::format("lists and maps lie more than {} deep", limits_.depth));
    }
    Frame frame;
    frame.node.kind = kind;
    frame.node.at = position(mark);
    frame.anchor = anchor;
    frame.nodes_before = nodes_;
    frame.bytes_before = bytes_;
    count(1, 0, frame.node.at);
    stack_.push_back(std::move(frame));
  }
  void close() {
    Frame frame = std::move(stack_.back());
    stack_.pop_back();
    if (frame.node.is_map()) merge(frame.node);
    keep(frame.anchor, frame.node, nodes_ - frame.nodes_before, bytes_ - frame.bytes_before);
    place(std::move(frame.node));
  }

  void add(Node node, YAML::anchor_t anchor) {
    count(1, node.text.size(), node.at);
    keep(anchor, node, 1, node.text.size());
    place(std::move(node));
  }
  void place(Node node) {
    if (stack_.empty()) {
      root = std::move(node);
      return;
    }
    Frame& frame = stack_.back();
    if (frame.node.is_list()) {
      frame.node.items.push_back(std::move(node));
    } else if (!frame.has_key) {
      if (!node.is_scalar()) stop(node.at, "a key must be a plain name");
      const bool merges = node.text == "<<" && !node.quoted;
      if (!frame.seen.insert(node.text).second && !merges) {
        stop(node.at, fmt::format("the key {} stands twice in this map", printable(node.text)));
      }
      frame.key = std::move(node.text);
      frame.key_at = node.at;
      frame.has_key = true;
    } else {
      frame.node.entries.push_back({std::move(frame.key), frame.key_at, std::move(node)});
      frame.has_key = false;
    }
  }
  // `<<: *base`: what the map does not say itself.
  void merge(Node& map) {
    std::vector<Entry> own, merged;
    for (Entry& entry : map.entries) {
      (entry.key == "<<" ? merged : own).push_back(std::move(entry));
    }
    map.entries = std::move(own);
    for (Entry& entry : merged) {
      std::vector<Node> sources;
      if (entry.value.is_list()) {
        sources = std::move(entry.value.items);
      } else {
        sources.push_back(std::move(entry.value));
      }
      for (Node& source : sources) {
        if (!source.is_map()) stop(entry.at, "<< merges a map, or a list of maps");
        for (Entry& inherited : source.entries) {
          if (map.find(inherited.key) == nullptr) map.entries.push_back(std::move(inherited));
        }
      }
    }
  }

  const YamlLimits& limits_;
  const int file_;
  std::vector<Frame> stack_;
  std::map<YAML::anchor_t, Anchored> anchors_;
  std::uint64_t nodes_ = 0, bytes_ = 0, kept_nodes_ = 0, kept_bytes_ = 0;
};

// Where a byte stands, for what is found before the parse.
Position position_of(std::string_view text, std::size_t offset) {
  Position at;
  for (std::size_t i = 0; i < offset; ++i) {
    if (text[i] == '\n') {
      ++at.line;
      at.column = 1;
    } else {
      ++at.column;
    }
  }
  return at;
}

}  // namespace

const Node* Node::find(std::string_view key) const {
  const auto it = std::find_if(entries.begin(), entries.end(), [&](const Entry& e) { return e.key == key; });
  return it == entries.end() ? nullptr : &it->value;
}

std::string_view kind_name(const Node& node) {
  switch (node.kind) {
    case Node::Kind::kNull: return "nothing";
    case Node::Kind::kScalar: return "a single value";
    case Node::Kind::kList: return "a list";
    case Node::Kind::kMap: return "a map";
  }
  return "";
}

bool is_null_text(std::string_view text) {
  return text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL";
}

void inherit(Node& own, Node base) {
  if (!own.is_map() || !base.is_map()) return;
  for (Entry& entry : base.entries) {
    const auto it =
        std::find_if(own.entries.begin(), own.entries.end(), [&](const Entry& e) { return e.key == entry.key; });
    if (it == own.entries.end()) {
      own.entries.push_back(std::move(entry));
    } else {
      inherit(it->value, std::move(entry.value));
    }
  }
}

Result<Node> parse_yaml(std::string_view text, std::string_view origin, const YamlLimits& limits, int file) {
  const auto at = [&](Position p, std::string_view what) {
    return usage_error("{}:{}:{}: {}", printable(origin, 500), p.line, p.column, what);
  };
  if (text.size() > limits.bytes) {
    return usage_error("{}: {} are too much for a configuration; the limit is {}", printable(origin, 500),
                       human_bytes(text.size()), human_bytes(limits.bytes));
  }
  // yaml-cpp guesses UTF-16 from zero bytes and takes 0x04 for the end of the text: neither gets that far.
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7F) {
      return at(position_of(text, i), fmt::format("the control character \\x{:02x} has no place in YAML", c));
    }
  }
  if (!is_valid_utf8(text)) return usage_error("{}: is not UTF-8", printable(origin, 500));

  Builder builder(limits, file);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder) || !builder.root) {
      return usage_error("{}: is empty", printable(origin, 500));
    }
    Node root = std::move(*builder.root);
    Builder second(limits, file);
    if (parser.HandleNextDocument(second)) {
      return at(second.root ? second.root->at : Position{}, "a second document (---) in one file; one is read");
    }
    return root;
  } catch (const Stopped&) {
    if (builder.message.empty()) return usage_error("{}: holds a second document (---)", printable(origin, 500));
    return at(builder.where, builder.message);
  } catch (const YAML::Exception& error) {
    if (error.mark.is_null()) return usage_error("{}: is not YAML: {}", printable(origin, 500), printable(error.msg));
    return at(position_in(file, error.mark), fmt::format("is not YAML: {}", printable(error.msg)));
  } catch (const std::exception& error) {
    return usage_error("{}: is not YAML: {}", printable(origin, 500), printable(error.what()));
  }
}

}  // namespace octavo::dialect
