// JSON that is read through a buffer: the same events, errors and positions as the text's, wherever the buffer ends.
#include <gtest/gtest.h>

#include <random>

#include "octavo/base/json.h"
#include "octavo/base/text.h"

namespace octavo {
namespace {

// Writes events down; fails at the one it is told to.
class Recorder final : public JsonEvents {
 public:
  explicit Recorder(std::size_t fail_at = SIZE_MAX) : fail_at_(fail_at) {}
  std::string log;
  Status null() override { return note("null"); }
  Status boolean(bool v) override { return note(v ? "true" : "false"); }
  Status integer(std::int64_t v) override { return note(fmt::format("i{}", v)); }
  Status natural(std::uint64_t v) override { return note(fmt::format("n{}", v)); }
  Status real(double v) override { return note(fmt::format("r{}", v)); }
  Status string(std::string& v) override { return note("s:" + v); }
  Status begin_object() override { return note("{"); }
  Status key(std::string& v) override { return note("k:" + v); }
  Status end_object() override { return note("}"); }
  Status begin_array() override { return note("["); }
  Status end_array() override { return note("]"); }

 private:
  Status note(const std::string& event) {
    if (events_++ == fail_at_) return failure("stopped");
    log += event + " ";
    return {};
  }
  std::size_t fail_at_, events_ = 0;
};

constexpr int kDepth = 4;

std::string parse_text(std::string_view text, std::size_t fail_at = SIZE_MAX) {
  Recorder events(fail_at);
  const Status status = parse_json_events(text, "f", kDepth, events);
  return events.log + (status.ok() ? "ok" : status.error().message);
}

std::string parse_range(std::string_view text, std::size_t buffer, std::size_t fail_at = SIZE_MAX) {
  // The document stands between other bytes, which must not be read.
  const std::string around = fmt::format("]]{}\"{{", text);
  const MemorySource source(as_bytes(around));
  JsonRange range{source, 2, text.size()};
  range.buffer = buffer;
  Recorder events(fail_at);
  const Status status = parse_json_events(range, "f", kDepth, events);
  return events.log + (status.ok() ? "ok" : status.error().message);
}

class Generator {
 public:
  explicit Generator(unsigned seed) : random_(seed) {}

  std::string document() {
    std::string out;
    value(out, 0);
    return out;
  }
  // One byte changed, added or taken away, or the end cut off.
  std::string damaged() {
    std::string text = document();
    const std::size_t at = below(text.size());
    switch (below(4)) {
      case 0: text[at] = byte(); break;
      case 1: text.insert(at, 1, byte()); break;
      case 2: text.erase(at, 1); break;
      default: text.resize(at); break;
    }
    return text;
  }
  std::size_t below(std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random_); }

 private:
  template <std::size_t n>
  const char* one_of(const char* const (&choices)[n]) {
    return choices[below(n)];
  }
  char byte() {
    static constexpr std::string_view kBytes("\0\n \"\\{}[]:,-01eE.+tnx\x7f\x80\xc3\xff\xef", 27);
    return kBytes[below(kBytes.size())];
  }
  void space(std::string& out) { out += one_of({"", "", "", " ", "\n", "\r\n", "\t ", " \n\n "}); }
  void string(std::string& out) {
    out += '"';
    for (std::size_t i = below(4); i > 0; --i) {
      out +=
          one_of({"a", "bc", "\\n", "\\\"", "\\\\", "\\u00e9", "\\ud83d\\ude00", "\xC3\xA9", "\xF0\x9F\x98\x80", " "});
    }
    out += '"';
  }
  void value(std::string& out, int depth) {
    space(out);
    const std::size_t kind = below(depth < kDepth ? 6 : 4);
    if (kind == 0) {
      string(out);
    } else if (kind == 1) {
      out += one_of({"null", "true", "false"});
    } else if (kind <= 3) {
      out += one_of({"0", "-0", "7", "-12", "1.5", "-2.5e-3", "1E+2", "18446744073709551615", "18446744073709551616"});
    } else {
      out += kind == 4 ? '[' : '{';
      const std::size_t members = below(4);
      for (std::size_t i = 0; i < members; ++i) {
        if (i > 0) out += ',';
        if (kind == 5) {
          space(out);
          string(out);
          space(out);
          out += ':';
        }
        value(out, depth + 1);
      }
      if (members == 0) space(out);
      out += kind == 4 ? ']' : '}';
    }
    space(out);
  }

  std::mt19937 random_;
};

TEST(JsonRange, SameAsTheTextAtEveryBoundary) {
  Generator generator(1);
  std::size_t accepted = 0, refused = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::string text = i % 2 == 0 ? generator.document() : generator.damaged();
    if (text.size() > 200) continue;
    const std::string expected = parse_text(text);
    (expected.ends_with("ok") ? accepted : refused) += 1;
    for (std::size_t buffer = 1; buffer <= text.size() + 1; ++buffer) {
      ASSERT_EQ(parse_range(text, buffer), expected) << printable(text, 1000) << "\nbuffer " << buffer;
    }
  }
  EXPECT_GT(accepted, 1000u);
  EXPECT_GT(refused, 500u);
}

TEST(JsonRange, AnErrorOfTheCallbackHasTheSamePlace) {
  Generator generator(2);
  for (int i = 0; i < 500; ++i) {
    const std::string text = generator.document();
    for (std::size_t fail_at = 0; fail_at < 12; ++fail_at) {
      const std::string expected = parse_text(text, fail_at);
      for (const std::size_t buffer : {1, 2, 3, 7, 64}) {
        ASSERT_EQ(parse_range(text, buffer, fail_at), expected) << printable(text, 1000) << "\nbuffer " << buffer;
      }
    }
  }
}

TEST(JsonRange, OddDocuments) {
  using namespace std::string_view_literals;
  for (const std::string_view text :
       {""sv, " "sv, "\n\n"sv, "\xEF\xBB\xBF{}"sv, "\xEF\xBB[]"sv, "\xEF"sv, "{}\0"sv, "{}\0x"sv, "\0"sv, "[\0]"sv,
        "\"\0\""sv, "[1\0]"sv, "12"sv, "1x"sv, "-"sv, "nul"sv, "{}{}"sv, "[[[[[1]]]]]"sv, "\"\\ud800\""sv}) {
    for (std::size_t buffer = 1; buffer <= text.size() + 1; ++buffer) {
      EXPECT_EQ(parse_range(text, buffer), parse_text(text)) << printable(text) << " buffer " << buffer;
    }
  }
}

// Bytes that are made when they are read: as long as one likes.
class Endless final : public ByteSource {
 public:
  Endless(std::string begin, std::string repeated, std::uint64_t size)
      : begin_(std::move(begin)), repeated_(std::move(repeated)), size_(size) {}
  std::uint64_t size() const override { return size_; }
  Status read_at(std::uint64_t offset, std::span<std::byte> out) const override {
    for (std::byte& byte : out) {
      byte = static_cast<std::byte>(offset < begin_.size() ? begin_[offset]
                                                           : repeated_[(offset - begin_.size()) % repeated_.size()]);
      ++offset;
    }
    read = std::max(read, offset);
    return {};
  }
  std::string describe() const override { return "endless"; }
  mutable std::uint64_t read = 0;  // how far

 private:
  std::string begin_, repeated_;
  std::uint64_t size_;
};

TEST(JsonRange, AThingOfAHundredMegabytesEndsEarly) {
  struct Row {
    const char *begin, *repeated, *says;
  };
  for (const Row& row : {
           Row{"[\"", "a", "f:1:1048579: a string of more than 1048576 bytes"},
           Row{"[\"", "\\\"", "a string of more than"},
           Row{"{\"", "\\u0061", "a string of more than"},
           Row{"[1,", " ", "f:1:1048579: more than 1048576 bytes without a string or a number"},
           Row{"[\"a\",\n", "\n", "f:1048577:1: more than"},
           Row{"[1", "1", "more than"},
           Row{"[1.", "1", "more than"},
           Row{"[-", "1", "more than"},
           Row{"[", "null,", "more than"},
           Row{"[", "[],", "more than"},
           Row{"", " ", "more than"},
       }) {
    const Endless source(row.begin, row.repeated, 100'000'000);
    const JsonRange range{source, 0, source.size()};
    Recorder events;
    const Status status = parse_json_events(range, "f", kDepth, events);
    ASSERT_FALSE(status.ok()) << row.begin;
    EXPECT_NE(status.error().message.find(row.says), std::string::npos) << row.begin << ": " << status.error().message;
    EXPECT_LT(source.read, 1'300'000u) << row.begin;
  }
}

TEST(JsonRange, LimitsAreForOneThingNotForAll) {
  const std::string longest(1000, 'a');
  std::string text = "{";
  for (int i = 0; i < 50; ++i) text += fmt::format("{}\"{}{}\":[1,-2,3.5]", i == 0 ? "" : ",", i + 100, longest);
  text += ",\"n\":[0";
  for (int i = 0; i < 5000; ++i) text += i % 2 == 0 ? ",1" : ", -22";
  text += "]}";
  const MemorySource source(as_bytes(text));
  JsonRange range{source, 0, text.size()};
  range.longest = 1004;  // three digits, the letters, and the quote
  Recorder events;
  EXPECT_TRUE(parse_json_events(range, "f", kDepth, events).ok());
  range.longest = 1002;
  const Status status = parse_json_events(range, "f", kDepth, events);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().message, "f:1:1005: a string of more than 1002 bytes");
}

TEST(JsonRange, AnErrorOfReadingIsTheError) {
  const std::string text = "{\"a\": 1}";
  const MemorySource source(as_bytes(text));
  for (const std::size_t buffer : {1, 5, 100}) {
    JsonRange range{source, 0, text.size() + 1};
    range.buffer = buffer;
    Recorder events;
    const Status status = parse_json_events(range, "f", kDepth, events);
    ASSERT_FALSE(status.ok());
    EXPECT_TRUE(status.error().message.starts_with("memory: ")) << status.error().message;
  }
}

}  // namespace
}  // namespace octavo
