// JSON on nlohmann's SAX parser: no recursion, no exceptions leave this file.
#include "octavo/base/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <span>
#include <unordered_set>
#include <utility>
#include <vector>

#include "octavo/base/text.h"

namespace octavo {
namespace {

std::string position(std::string_view text, std::size_t byte) {
  byte = std::min(byte, text.size());
  const std::string_view before = text.substr(0, byte);
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const std::size_t start = before.rfind('\n');
  const std::size_t column = byte - (start == std::string_view::npos ? 0 : start + 1);
  return fmt::format("{}:{}", line, std::max<std::size_t>(column, 1));
}

// nlohmann's message is "[json.exception...] parse error at line 1, column 2: syntax error while ... - reason";
// the part after the last ": " or " - " that is for people starts behind the position.
std::string readable(std::string_view what) {
  if (const auto at = what.find("column "); at != std::string_view::npos) {
    if (const auto colon = what.find(": ", at); colon != std::string_view::npos) what = what.substr(colon + 2);
  } else if (const auto bracket = what.find("] "); bracket != std::string_view::npos) {
    what = what.substr(bracket + 2);
  }
  constexpr std::size_t kLongest = 200;
  return printable(what, kLongest);
}

// Counts the bytes the lexer has taken, so that errors raised by a callback know where they are.
struct CountingIterator {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;
  const char* at;
  std::size_t* taken;
  reference operator*() const { return *at; }
  CountingIterator& operator++() {
    ++at;
    ++*taken;
    return *this;
  }
  CountingIterator operator++(int) {
    auto old = *this;
    ++*this;
    return old;
  }
  bool operator==(const CountingIterator& other) const { return at == other.at; }
  bool operator!=(const CountingIterator& other) const { return at != other.at; }
};

// Where a reader is: after how many lines, and bytes of the current one.
struct Place {
  std::uint64_t line = 1, column = 0;
  std::string text() const { return fmt::format("{}:{}", line, std::max<std::uint64_t>(column, 1)); }
};

// Gives the bytes of a range one by one. The lexer holds a string until it is complete, and for its messages all since
// the last string or number began: so both have a limit here.
class RangeReader {
 public:
  explicit RangeReader(const JsonRange& range)
      : range_(range),
        next_(range.offset),
        end_(range.offset + range.length),
        buffer_(std::min<std::uint64_t>(std::max<std::size_t>(range.buffer, 1), range.length)) {}

  bool at_end() { return at_ == filled_ && !fill(); }
  const char& peek() const { return buffer_[at_]; }
  void take() {
    const char c = buffer_[at_++];
    ++taken_;
    before_ = here_;
    if (c == '\n') {
      here_ = {here_.line + 1, 0};
    } else {
      ++here_.column;
    }
    watch(c);
  }

  std::uint64_t taken() const { return taken_; }
  char last() const { return last_; }
  // After `byte` bytes: all that were taken, or without the one that the lexer gave back.
  const Place& place(std::uint64_t byte) const { return byte < taken_ ? before_ : here_; }
  const Place& here() const { return here_; }
  // What the document has done to be cut off here.
  const std::optional<Error>& refused() const { return refused_; }
  const std::optional<Error>& unreadable() const { return unreadable_; }

 private:
  bool fill() {
    if (refused_ || unreadable_ || next_ == end_) return false;
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size(), end_ - next_));
    const Status read = range_.source.read_at(next_, std::as_writable_bytes(std::span(buffer_).first(count)));
    if (!read.ok()) {
      unreadable_ = read.error();
      return false;
    }
    next_ += count;
    at_ = 0;
    filled_ = count;
    return true;
  }
  void watch(char c) {
    ++length_;
    if (in_string_) {
      if (escaped_) {
        escaped_ = false;
      } else if (c == '\\') {
        escaped_ = true;
      } else if (c == '"') {
        in_string_ = false;
        length_ = 0;
      }
    } else if (c == '"') {
      in_string_ = true;
      length_ = 0;
    } else if ((c == '-' || (c >= '0' && c <= '9')) && !in_word(last_)) {
      length_ = 0;  // a number begins
    }
    last_ = c;
    if (length_ > range_.longest && !refused_) {
      refused_ = in_string_ ? failure("a string of more than {} bytes", range_.longest)
                            : failure("more than {} bytes without a string or a number", range_.longest);
      filled_ = at_;  // the end
    }
  }
  static bool in_word(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == 'E' || c == '-' || c == '+' || c == '.';
  }

  const JsonRange& range_;
  std::uint64_t next_, end_;
  std::vector<char> buffer_;
  std::size_t at_ = 0, filled_ = 0;
  std::uint64_t taken_ = 0;
  Place here_, before_;
  bool in_string_ = false, escaped_ = false;
  char last_ = '\0';
  std::size_t length_ = 0;
  std::optional<Error> refused_, unreadable_;
};

// What the lexer goes along. The end has no reader.
struct RangeIterator {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;
  RangeReader* reader = nullptr;
  reference operator*() const { return reader->peek(); }
  RangeIterator& operator++() {
    reader->take();
    return *this;
  }
  RangeIterator operator++(int) {
    auto old = *this;
    ++*this;
    return old;
  }
  bool operator==(const RangeIterator& other) const { return ended() == other.ended(); }
  bool operator!=(const RangeIterator& other) const { return !(*this == other); }

 private:
  bool ended() const { return reader == nullptr || reader->at_end(); }
};

// Adapts nlohmann's SAX to JsonEvents and keeps the first error.
class Adapter {
 public:
  Adapter(JsonEvents& events, int max_depth) : events_(events), max_depth_(max_depth) {}

  bool null() { return take(events_.null()); }
  bool boolean(bool v) { return take(events_.boolean(v)); }
  bool number_integer(Json::number_integer_t v) { return take(events_.integer(v)); }
  bool number_unsigned(Json::number_unsigned_t v) { return take(events_.natural(v)); }
  bool number_float(Json::number_float_t v, const std::string&) { return take(events_.real(v)); }
  bool string(std::string& v) { return take(events_.string(v)); }
  bool binary(Json::binary_t&) { return take(failure("binary value")); }
  bool start_object(std::size_t) { return deeper() && take(events_.begin_object()); }
  bool key(std::string& v) { return take(events_.key(v)); }
  bool end_object() {
    --depth_;
    return take(events_.end_object());
  }
  bool start_array(std::size_t) { return deeper() && take(events_.begin_array()); }
  bool end_array() {
    --depth_;
    return take(events_.end_array());
  }
  bool parse_error(std::size_t byte, const std::string&, const nlohmann::detail::exception& ex) {
    error_ = failure("{}", readable(ex.what()));
    byte_ = byte;
    return false;
  }

  std::optional<Error>& error() { return error_; }
  std::optional<std::size_t> byte() const { return byte_; }

 private:
  bool deeper() {
    if (++depth_ > max_depth_) return take(failure("nested deeper than {} levels", max_depth_));
    return true;
  }
  bool take(Status status) {
    if (status.ok()) return true;
    error_ = std::move(status).error();
    return false;
  }

  JsonEvents& events_;
  int max_depth_;
  int depth_ = 0;
  std::optional<Error> error_;
  std::optional<std::size_t> byte_;
};

// Builds a Json tree, refusing duplicate keys in linear time (ordered_json looks keys up one by one).
class TreeBuilder final : public JsonEvents {
 public:
  Status null() override { return put(Json(nullptr)); }
  Status boolean(bool v) override { return put(Json(v)); }
  Status integer(std::int64_t v) override { return put(Json(v)); }
  Status natural(std::uint64_t v) override { return put(Json(v)); }
  Status real(double v) override { return put(Json(v)); }
  Status string(std::string& v) override { return put(Json(std::move(v))); }
  Status begin_object() override {
    open_.push_back({Json::object(), {}, {}});
    return {};
  }
  Status key(std::string& name) override {
    Level& level = open_.back();
    if (!level.keys.insert(name).second) return failure("key \"{}\" appears twice", printable(name));
    level.key = std::move(name);
    return {};
  }
  Status end_object() override { return close(); }
  Status begin_array() override {
    open_.push_back({Json::array(), {}, {}});
    return {};
  }
  Status end_array() override { return close(); }

  Json take() && { return std::move(root_); }

 private:
  struct Level {
    Json value;
    std::string key;  // of the member being parsed
    std::unordered_set<std::string> keys;
  };
  Status put(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return {};
    }
    Level& level = open_.back();
    if (level.value.is_array()) {
      level.value.push_back(std::move(value));
    } else {
      using Members = std::vector<std::pair<const std::string, Json>>;
      static_cast<Members&>(level.value.get_ref<Json::object_t&>())
          .emplace_back(std::move(level.key), std::move(value));
    }
    return {};
  }
  Status close() {
    Json done = std::move(open_.back().value);
    open_.pop_back();
    return put(std::move(done));
  }

  std::vector<Level> open_;
  Json root_;
};

// The end of the JSON string that starts at `i` (a quote): the index after its closing quote.
std::size_t skip_string(std::string_view text, std::size_t i) {
  for (++i; i < text.size() && text[i] != '"'; ++i) {
    if (text[i] == '\\') ++i;
  }
  return std::min(i + 1, text.size());
}

// JSON made of a text with Python's constants, and how to find the way back.
struct Translated {
  std::string text;
  std::vector<std::size_t> added;  // offsets in `text` of bytes that the original does not have
};

// NaN and +-Infinity outside strings become null, padded where they are longer.
Translated translate_python_constants(std::string_view text) {
  Translated out;
  out.text.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    std::size_t taken = 1;
    if (text[i] == '"') taken = skip_string(text, i) - i;
    // "1NaN" is a mistake, not a number and a constant.
    const char before = i == 0 ? ' ' : text[i - 1];
    const bool starts_token = before == ' ' || before == ':' || before == ',' || before == '[' || before == '\n' ||
                              before == '\t' || before == '\r';
    std::string_view constant;
    for (const std::string_view token : {"NaN", "-Infinity", "Infinity"}) {
      if (starts_token && text.substr(i).starts_with(token)) constant = token;
    }
    if (constant.empty()) {
      out.text += text.substr(i, taken);
      i += taken;
      continue;
    }
    out.text += "null";
    if (constant.size() < 4) out.added.push_back(out.text.size() - 1);
    if (constant.size() > 4) out.text.append(constant.size() - 4, ' ');
    i += constant.size();
  }
  return out;
}

struct Member {
  std::size_t begin, end;  // from the key's opening quote to behind the value
  std::string_view key;    // as written, with quotes and escapes

  bool is(std::string_view name) const {
    // A key may be written with escapes: "\u0061" is "a".
    if (key.find('\\') == key.npos) return key.substr(1, key.size() - 2) == name;
    const Json decoded = Json::parse(key, nullptr, /*allow_exceptions=*/false);
    return decoded.is_string() && decoded.get_ref<const std::string&>() == name;
  }
};

// The members of the top-level object, by a scan that trusts the text to be valid JSON.
std::vector<Member> top_level_members(std::string_view text) {
  std::vector<Member> members;
  int depth = 0;
  bool in_member = false;
  Member current{};
  std::size_t value_end = 0;
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == '"') {
      const std::size_t end = skip_string(text, i);
      if (depth == 1 && !in_member) {
        current = {i, end, text.substr(i, end - i)};
        in_member = true;
      }
      i = value_end = end;
      continue;
    }
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    if ((c == ',' && depth == 1) || (c == '}' && depth == 0)) {
      if (in_member) {
        current.end = value_end;
        members.push_back(current);
      }
      in_member = false;
    } else if (!std::isspace(static_cast<unsigned char>(c))) {
      value_end = i + 1;
    }
    ++i;
  }
  return members;
}

// `text` is parsed; an error's position is that in `original`, which lacks the bytes at the offsets `added`.
Status parse_events(std::string_view text, std::string_view origin, int max_depth, JsonEvents& events,
                    std::string_view original, const std::vector<std::size_t>& added) {
  Adapter adapter(events, max_depth);
  std::size_t taken = 0;
  const CountingIterator first{text.data(), &taken};
  const CountingIterator last{text.data() + text.size(), &taken};
  const bool ok = Json::sax_parse(first, last, &adapter);
  if (ok) {
    // The lexer takes a zero byte for the end of the text, and would let anything stand behind it.
    const std::size_t zero = text.find('\0');
    if (zero == text.npos) return {};
    taken = zero + 1;
    adapter.error() = failure("a zero byte");
  }
  Error error = adapter.error().value_or(failure("not JSON"));
  const std::size_t byte = adapter.byte().value_or(taken);
  const auto before = std::lower_bound(added.begin(), added.end(), byte) - added.begin();
  error.message =
      fmt::format("{}:{}: {}", origin, position(original, byte - static_cast<std::size_t>(before)), error.message);
  return error;
}

}  // namespace

Status parse_json_events(std::string_view text, std::string_view origin, int max_depth, JsonEvents& events) {
  return parse_events(text, origin, max_depth, events, text, {});
}

Status parse_json_events(const JsonRange& range, std::string_view origin, int max_depth, JsonEvents& events) {
  Adapter adapter(events, max_depth);
  RangeReader reader(range);
  RangeIterator first;
  first.reader = &reader;
  const bool ok = Json::sax_parse(first, RangeIterator(), &adapter);
  if (reader.unreadable()) return *reader.unreadable();
  const bool zero = reader.last() == '\0' && reader.taken() > 0;
  if (ok && !zero && !reader.refused()) return {};
  Error error = adapter.error().value_or(failure("a zero byte"));  // as in a text: the lexer takes it for the end
  Place place = ok ? reader.here() : reader.place(adapter.byte().value_or(reader.taken()));
  if (reader.refused() && (ok || adapter.byte())) {  // the parser's complaint is about being cut off here
    error = *reader.refused();
    place = reader.here();
  }
  error.message = fmt::format("{}:{}: {}", origin, place.text(), error.message);
  return error;
}

Result<Json> parse_json(std::string_view text, std::string_view origin, const JsonOptions& options) {
  TreeBuilder builder;
  if (options.python_constants && (text.find("NaN") != text.npos || text.find("Infinity") != text.npos)) {
    const Translated json = translate_python_constants(text);
    OCTAVO_TRY(parse_events(json.text, origin, options.max_depth, builder, text, json.added));
  } else {
    OCTAVO_TRY(parse_json_events(text, origin, options.max_depth, builder));
  }
  return std::move(builder).take();
}

std::string set_top_level_key(std::string_view text, std::string_view key, const Json& value) {
  // What stands before and behind the member, and between: a value may be long, so it is copied once.
  const auto members = top_level_members(text);
  const auto same = std::find_if(members.begin(), members.end(), [&](const Member& m) { return m.is(key); });
  std::string_view before = text, behind, separator = ",\n  ";
  if (same != members.end()) {
    before = text.substr(0, same->begin);
    behind = text.substr(same->end);
    separator = "";
  } else if (members.empty()) {
    before = "{";
    behind = "\n}\n";
    separator = "\n  ";
  } else {
    before = text.substr(0, members.back().end);
    behind = text.substr(members.back().end);
  }
  const std::string printed = value.dump(2);
  std::string out;
  out.reserve(text.size() + key.size() + printed.size() + 64 +
              2 * static_cast<std::size_t>(std::count(printed.begin(), printed.end(), '\n')));
  out.append(before).append(separator);
  append_json_string(out, key);
  out += ": ";
  for (const char c : printed) {
    out += c;
    if (c == '\n') out += "  ";
  }
  return out.append(behind);
}

std::string remove_top_level_key(std::string_view text, std::string_view key) {
  const auto members = top_level_members(text);
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (!members[i].is(key)) continue;
    // Take the separator too: up to the next member, or from the previous one.
    std::size_t begin = members[i].begin;
    std::size_t end = members[i].end;
    if (i + 1 < members.size()) {
      end = members[i + 1].begin;
    } else if (i > 0) {
      begin = members[i - 1].end;
    }
    return std::string(text.substr(0, begin)) + std::string(text.substr(end));
  }
  return std::string(text);
}

void append_json_string(std::string& out, std::string_view text) {
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c != '"' && c != '\\'; });
  if (plain) {
    out += '"';
    out += text;
    out += '"';
  } else {
    out += Json(text).dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
  }
}

std::string_view json_type_name(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null: return "null";
    case Json::value_t::object: return "an object";
    case Json::value_t::array: return "a list";
    case Json::value_t::string: return "a string";
    case Json::value_t::boolean: return "a boolean";
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned: return "an integer";
    case Json::value_t::number_float: return "a number";
    default: return "something else";
  }
}

}  // namespace octavo
