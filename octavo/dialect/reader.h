// Reads a document section by section and keeps the books: every key that is asked for is known, every key that is left
// over is an error with a suggestion, and everything that is wrong is found in one pass.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "octavo/dialect/config.h"

namespace octavo::dialect {

class Reader;

// A value of a list, and where it stands.
struct Text {
  std::string text;
  Position at;
};

// A map of the document, or one that is not there: then nothing is found in it. A handle, cheap to copy; lives no
// longer than its Reader. A getter returns nullopt where the key is absent or null, and where its value is wrong, which
// is then an error of the Reader. Asking for a key makes it known.
class Section {
 public:
  Section() = default;
  bool exists() const { return node_ != nullptr; }
  bool has(std::string_view key) const;  // present and not null; makes it known, not used
  const std::string& path() const { return path_; }
  std::string where(std::string_view key) const;  // "f.yaml:3:5: path.key"

  std::optional<std::string> text(std::string_view key) const;
  // One of these; otherwise an error that lists them. `advice` ends the sentence.
  std::optional<std::string> one_of(std::string_view key, const std::vector<std::string>& names) const;
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::int64_t> integer(std::string_view key, std::int64_t least, std::int64_t most) const;
  // A list of texts; with `single`, one text is a list of it.
  std::optional<std::vector<Text>> texts(std::string_view key, bool single = false) const;
  std::optional<std::vector<std::int64_t>> integers(std::string_view key, std::int64_t least, std::int64_t most) const;
  Section section(std::string_view key) const;
  // The maps of a list: {name, Section} with "key[0]" as path.
  std::vector<Section> sections(std::string_view key) const;
  // Every key of this map, in order, each used; for maps whose keys are names of the user's.
  std::vector<std::string> keys() const;
  bool is_map(std::string_view key) const;
  bool is_list(std::string_view key) const;

  // Known keys that decide nothing here; their values are not looked at. Not those that something else refers to.
  void meaningless(std::initializer_list<std::string_view> keys) const;
  void meaningless(const std::vector<std::string_view>& keys) const;
  // The key was read, to see that its value is sound, and decides nothing.
  void decides_nothing(std::string_view key) const;
  // Keys that nobody knows are without meaning too, unless they look like one with a meaning that is misspelt: for maps
  // that other programs extend.
  void tolerate_unknown() const;

  // An error at the key's value, or at the section where the key is missing. The sentence goes behind the path.
  void error(std::string_view key, std::string_view sentence) const;
  void error_at(const Text& item, std::string_view key, std::string_view sentence) const;
  // The key must be there.
  void require(std::string_view key, std::string_view why) const;

 private:
  friend class Reader;
  Section(Reader* reader, const Node* node, std::string path, Position at)
      : reader_(reader), node_(node), path_(std::move(path)), at_(at) {}
  const Node* value(std::string_view key) const;  // marks it used; resolved; nullptr when absent or null
  std::string join(std::string_view key) const;

  Reader* reader_ = nullptr;
  const Node* node_ = nullptr;  // a map
  std::string path_;
  Position at_;
};

class Reader {
 public:
  // `interpolates`: the language goes through OmegaConf, so ${a.b} names another value of the document. Where a key has
  // no meaning here, such text is left alone.
  // `origins`: the files by Position::file, at least one.
  Reader(const Node& root, std::vector<std::string> origins, bool interpolates);
  Section root();

  void note(std::string text);  // once, however often it is said
  void warn(std::string text);
  bool failed() const { return !errors_.empty(); }
  // "f.yaml:3:5"
  std::string place(Position at) const;
  // Looks for keys that nobody asked for, and hands over everything that was found. Meanings are the caller's.
  void finish(Config& config);

 private:
  friend class Section;
  struct MapState {
    std::string path;
    std::vector<std::string> known;    // asked for: they mean something
    std::vector<std::string> foreign;  // known to have no meaning
    std::unordered_map<std::string, KeyUse> uses;
    bool tolerant = false;
  };
  struct Found {
    Position at;
    std::string text;
  };
  void error(Position at, std::string_view path, std::string_view sentence);
  void mark(const Node* map, std::string_view key, KeyUse use);
  void know(const Node* map, std::string_view key);
  const Node* resolve(const Node* node, const std::string& path);
  void walk(const Node& node, const std::string& path, Config& config);
  void check_map(const Node& map, const MapState& state, Config& config);

  const Node& root_;
  std::vector<std::string> origins_;
  bool interpolates_;
  std::unordered_map<const Node*, MapState> maps_;
  std::vector<Found> errors_;
  std::vector<std::string> notes_, warnings_;
};

// "model.layers", '\n' and worse made fit for a message.
std::string shown(std::string_view text);

}  // namespace octavo::dialect
