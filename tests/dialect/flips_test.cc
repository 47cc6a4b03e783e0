// Every key of every sample, changed and renamed: what the file means changes, or the key is among those that are said
// to have no meaning here, or the file is refused. Nothing is swallowed.
#include "octavo/dialect/yaml.h"
#include "tests/dialect/dialect_support.h"

namespace octavo::dialect {
namespace {

// A tree as JSON, which is YAML.
void write(const Node& node, std::string& out) {
  switch (node.kind) {
    case Node::Kind::kNull: out += "null"; return;
    case Node::Kind::kScalar:
      if (node.quoted) {
        append_json_string(out, node.text);
      } else {
        // Plain text stays plain where flow style lets it, so that numbers stay numbers.
        const bool plain = node.text.find_first_of(",[]{}:#&*!|>'\"%@`?\\ $=<~") == std::string::npos;
        plain ? void(out += node.text) : append_json_string(out, node.text);
      }
      return;
    case Node::Kind::kList:
      out += "[";
      for (std::size_t i = 0; i < node.items.size(); ++i) {
        if (i > 0) out += ", ";
        write(node.items[i], out);
      }
      out += "]";
      return;
    case Node::Kind::kMap:
      out += "{";
      for (std::size_t i = 0; i < node.entries.size(); ++i) {
        if (i > 0) out += ", ";
        append_json_string(out, node.entries[i].key);
        out += ": ";
        write(node.entries[i].value, out);
      }
      out += "}";
      return;
  }
}

// Every key, with the way to it: indices of entries and items.
struct Place {
  std::string path;
  std::vector<std::size_t> steps;  // the last is the entry of the key
};
void collect(const Node& node, const std::string& path, std::vector<std::size_t> steps, std::vector<Place>& out) {
  const std::size_t count = node.is_map() ? node.entries.size() : node.items.size();
  for (std::size_t i = 0; i < count; ++i) {
    auto next = steps;
    next.push_back(i);
    if (node.is_map()) {
      const std::string name = path.empty() ? node.entries[i].key : path + "." + node.entries[i].key;
      out.push_back({name, next});
      collect(node.entries[i].value, name, next, out);
    } else {
      collect(node.items[i], path + "[" + std::to_string(i) + "]", next, out);
    }
  }
}

Entry& entry_at(Node& root, const std::vector<std::size_t>& steps) {
  Node* node = &root;
  for (std::size_t i = 0; i + 1 < steps.size(); ++i) {
    node = node->is_map() ? &node->entries[steps[i]].value : &node->items[steps[i]];
  }
  return node->entries[steps.back()];
}

// Another value of the same kind.
void flip(Node& node) {
  switch (node.kind) {
    case Node::Kind::kNull:
      node.kind = Node::Kind::kScalar;
      node.text = "flipped";
      return;
    case Node::Kind::kScalar:
      if (!node.quoted && (node.text == "true" || node.text == "false")) {
        node.text = node.text == "true" ? "false" : "true";
      } else if (!node.quoted && node.text.find_first_not_of("-0123456789") == std::string::npos) {
        node.text = std::to_string(std::stoll(node.text) + 1);
      } else {
        node.text += "x";
      }
      return;
    case Node::Kind::kList: {
      Node item;
      item.kind = Node::Kind::kScalar;
      item.text = "flipped";
      if (!node.items.empty()) {
        item = node.items.front();
        if (item.is_scalar()) flip(item);
      }
      node.items.push_back(item);
      return;
    }
    case Node::Kind::kMap: node.entries.push_back({"flipped_", {}, Node{Node::Kind::kScalar, false, {}, "1", {}, {}}});
  }
}

// A key, or one above it, is said to have no meaning.
bool listed(const Config& config, const std::string& path) {
  for (const std::string& key : config.meaningless()) {
    if (path == key || (path.starts_with(key) && (path[key.size()] == '.' || path[key.size()] == '['))) return true;
  }
  return false;
}

Json meaning_of(const Config& config) {
  Json json = config_json(config);
  for (const char* key : {"notes", "warnings", "without_meaning", "file"}) json.erase(key);
  return json;
}

// Keys whose names are their writer's own: groups of a recipe, rewards.
bool names_its_own(const std::string& path) {
  const std::string parent = path.substr(0, path.rfind('.') == path.npos ? 0 : path.rfind('.'));
  return parent == "rewards" || parent.ends_with("config_groups");
}

class EverySample : public testing::TestWithParam<std::string> {};

TEST_P(EverySample, IsRead) {
  const Config config = read_sample(GetParam());
  EXPECT_EQ(all_errors(config), "");
  ASSERT_FALSE(config.meanings.empty());
  EXPECT_TRUE(config.meanings.front().spec);
}

TEST_P(EverySample, EveryKeyIsAccountedFor) {
  const auto root = parse_yaml(sample_text(GetParam()), "sample");
  ASSERT_TRUE(root.ok());
  const std::string origin = std::filesystem::path(GetParam()).filename().string();
  const auto read = [&](const Node& tree) {
    std::string text;
    write(tree, text);
    return read_config(text, origin);
  };
  const Config original = read(*root);
  ASSERT_EQ(all_errors(original), "");
  const Json before = meaning_of(original);
  ASSERT_EQ(before, meaning_of(read_sample(GetParam())));  // the writer above changes nothing

  std::vector<Place> places;
  collect(*root, "", {}, places);
  ASSERT_GE(places.size(), 3u);
  std::size_t refused = 0, changed = 0, meaningless = 0;
  const auto judge = [&](const Config& now, const std::string& path, const char* what) {
    if (!now.errors.empty()) {
      ++refused;
    } else if (meaning_of(now) != before) {
      ++changed;
    } else if (listed(now, path)) {
      ++meaningless;
    } else {
      ADD_FAILURE() << path << " was " << what << ", and nobody said a word";
    }
  };
  for (const Place& place : places) {
    Node tree = *root;
    flip(entry_at(tree, place.steps).value);
    // Of a map, what was added to it is what must be accounted for.
    const bool map = entry_at(tree, place.steps).value.is_map();
    judge(read(tree), map ? place.path + ".flipped_" : place.path, "changed");

    if (names_its_own(place.path)) continue;
    tree = *root;
    Entry& entry = entry_at(tree, place.steps);
    const std::size_t key_at = place.path.size() - entry.key.size();
    entry.key += "_x";
    judge(read(tree), place.path.substr(0, key_at) + entry.key, "renamed");
  }
  EXPECT_GT(refused + changed, 0u);
  RecordProperty("refused", static_cast<int>(refused));
  RecordProperty("changed", static_cast<int>(changed));
  RecordProperty("meaningless", static_cast<int>(meaningless));
}

// Taking a key away is never a crash, and what it said is then a default, an error, or gone.
TEST_P(EverySample, EveryKeyCanBeMissing) {
  const auto root = parse_yaml(sample_text(GetParam()), "sample");
  ASSERT_TRUE(root.ok());
  std::vector<Place> places;
  collect(*root, "", {}, places);
  for (const Place& place : places) {
    Node tree = *root;
    Node* node = &tree;
    for (std::size_t i = 0; i + 1 < place.steps.size(); ++i) {
      node = node->is_map() ? &node->entries[place.steps[i]].value : &node->items[place.steps[i]];
    }
    node->entries.erase(node->entries.begin() + static_cast<std::ptrdiff_t>(place.steps.back()));
    std::string text;
    write(tree, text);
    const Config config = read_config(text, "sample.yaml");
    for (const KeyRecord& key : config.keys) EXPECT_NE(key.path, place.path);
    EXPECT_EQ(config.errors.empty(), !config.meanings.empty()) << place.path;
  }
}

INSTANTIATE_TEST_SUITE_P(Dialects, EverySample, testing::ValuesIn(sample_names()), [](const auto& p) {
  std::string name = p.param;
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name;
});

}  // namespace
}  // namespace octavo::dialect
