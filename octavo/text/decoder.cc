// Decoders as a chain of stages. The library's stages map a list of tokens to a list of tokens; here a token may be
// passed on in parts, so that what follows Fuse (which makes one token of all) still streams.
#include "octavo/text/decoder.h"

#include <algorithm>

#include "octavo/base/text.h"
#include "octavo/text/normalizer.h"
#include "octavo/text/regex.h"
#include "octavo/text/utf8.h"

namespace octavo::text {
namespace {

constexpr int kMaxNesting = 16;
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

class Stage {
 public:
  virtual ~Stage() = default;
  // A part of a token: `begin` for its first, `end` for its last. Parts are whole characters and may be empty.
  virtual void push(std::string_view text, bool begin, bool end) = 0;
  virtual void finish() { next_->finish(); }
  void set_next(Stage* next) { next_ = next; }

 protected:
  void pass(std::string_view text, bool begin, bool end) { next_->push(text, begin, end); }
  Stage* next_ = nullptr;
};

// Collects the parts of a token and handles it whole.
class WholeTokens : public Stage {
 public:
  void push(std::string_view text, bool begin, bool end) final {
    if (begin && end) return token(text);
    if (begin) whole_.clear();
    whole_ += text;
    if (end) token(whole_);
  }

 protected:
  virtual void token(std::string_view text) = 0;

 private:
  std::string whole_;
};

class Output final : public Stage {
 public:
  void push(std::string_view text, bool, bool) override { out->append(text); }
  void finish() override {}
  std::string* out = nullptr;
};

class JoinWithSpaces final : public Stage {
 public:
  void push(std::string_view text, bool begin, bool end) override {
    if (begin && !first_) pass(" ", false, false);
    first_ = false;
    pass(text, begin, end);
  }

 private:
  bool first_ = true;
};

class Fuse final : public Stage {
 public:
  void push(std::string_view text, bool, bool) override {
    pass(text, !open_, false);
    open_ = true;
  }
  void finish() override {
    pass("", !open_, true);
    next_->finish();
  }

 private:
  bool open_ = false;
};

// All bytes together are one token; what is not UTF-8 in them becomes U+FFFD.
class ByteLevelStage final : public WholeTokens {
 public:
  void finish() override {
    std::string rest = replace_invalid_utf8(bytes_);
    pass(rest, !open_, true);
    next_->finish();
  }

 protected:
  void token(std::string_view text) override {
    const std::size_t before = bytes_.size();
    for (std::size_t at = 0; at < text.size();) {
      const CodePoint c = first_code_point(text.substr(at));
      const int byte = byte_of_level(c.value);
      if (byte < 0) {  // not a byte-level token: it stands for itself
        bytes_.resize(before);
        bytes_ += text;
        break;
      }
      bytes_ += static_cast<char>(byte);
      at += std::max<std::size_t>(c.length, 1);
    }
    decided_.clear();
    bytes_.erase(0, append_decided_utf8(bytes_, decided_));
    if (decided_.empty()) return;
    pass(decided_, !open_, false);
    open_ = true;
  }

 private:
  std::string bytes_, decided_;
  bool open_ = false;
};

// Runs of <0x41> tokens become one token of text, or a U+FFFD for each byte when they are not UTF-8.
class ByteFallbackStage final : public WholeTokens {
 public:
  explicit ByteFallbackStage(bool eager) : eager_(eager) {}
  void finish() override {
    end_run();
    next_->finish();
  }

 protected:
  void token(std::string_view text) override {
    const int byte = byte_of(text);
    if (byte < 0) {
      end_run();
      pass(text, true, true);
      return;
    }
    run_ += static_cast<char>(byte);
    if (!eager_) return;
    std::size_t whole = 0;
    while (whole < run_.size()) {
      const CodePoint c = first_code_point(std::string_view(run_).substr(whole));
      if (c.length == 0) break;
      whole += c.length;
    }
    if (whole == 0) return;
    pass(std::string_view(run_).substr(0, whole), !open_, false);
    open_ = true;
    run_.erase(0, whole);
  }

 private:
  // Rust's u8::from_str_radix takes a sign as well: "<0x+A>".
  static int byte_of(std::string_view text) {
    if (text.size() != 6 || !text.starts_with("<0x") || !text.ends_with('>')) return -1;
    const auto digit = [](char c) {
      return c >= '0' && c <= '9'   ? c - '0'
             : c >= 'A' && c <= 'F' ? c - 'A' + 10
             : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                    : -1;
    };
    const int high = text[3] == '+' ? 0 : digit(text[3]), low = digit(text[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
  }
  void end_run() {
    const bool sound = !invalid_utf8_offset(run_);
    if (sound) {
      if (open_ || !run_.empty()) pass(run_, !open_, true);
    } else {
      if (open_) pass("", false, true);
      for (std::size_t i = 0; i < run_.size(); ++i) pass(kReplacement, true, true);
    }
    open_ = false;
    run_.clear();
  }

  bool eager_;
  std::string run_;  // bytes not passed on
  bool open_ = false;
};

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  if (from.empty()) return std::string(text);
  std::string out;
  std::size_t done = 0;
  for (std::size_t at = 0; (at = text.find(from, done)) != text.npos; done = at + from.size()) {
    out += text.substr(done, at - done);
    out += to;
  }
  out += text.substr(done);
  return out;
}

// One character for another text: needs no whole tokens.
class ReplaceCharacter final : public Stage {
 public:
  ReplaceCharacter(std::string from, std::string to) : from_(std::move(from)), to_(std::move(to)) {}
  void push(std::string_view text, bool begin, bool end) override {
    if (text.find(from_) == text.npos) return pass(text, begin, end);
    pass(replace_all(text, from_, to_), begin, end);
  }

 private:
  std::string from_, to_;
};

class ReplaceStage final : public WholeTokens {
 public:
  ReplaceStage(const Regex& regex, std::string to) : regex_(regex), to_(std::move(to)) {}

 protected:
  void token(std::string_view text) override {
    std::string out;
    std::size_t done = 0;
    if (!text.empty()) {
      Regex::Scan scan(regex_, text);
      for (;;) {
        const auto found = scan.next();
        if (!found.ok() || !*found) break;  // a token on which the expression gives up keeps its rest
        out += text.substr(done, scan.begin() - done);
        out += to_;
        done = scan.end();
      }
    }
    out += text.substr(done);
    pass(out, true, true);
  }

 private:
  const Regex& regex_;
  std::string to_;
};

// Removes up to `start` of the character in front of each token and up to `stop` behind it.
class StripStage final : public Stage {
 public:
  StripStage(std::string content, std::size_t start, std::size_t stop)
      : content_(std::move(content)), start_(start), stop_(stop) {}
  void push(std::string_view text, bool begin, bool end) override {
    const bool first = begin;
    if (begin) {
      left_ = start_;
      held_ = 0;
    }
    while (left_ > 0 && text.starts_with(content_)) {
      text.remove_prefix(content_.size());
      --left_;
    }
    if (!text.empty()) left_ = 0;
    if (stop_ == 0) return pass(text, first, end);
    // Up to `stop` of the character are held back until something follows.
    std::size_t trailing = 0;
    std::string_view body = text;
    while (trailing < stop_ && body.ends_with(content_)) {
      body.remove_suffix(content_.size());
      ++trailing;
    }
    std::string out;
    const auto release = [&](std::size_t count) {
      for (; count > 0; --count) out += content_;
    };
    if (body.empty()) {
      const std::size_t all = held_ + trailing;
      if (all > stop_) release(all - stop_);
      held_ = std::min(all, stop_);
    } else {
      release(held_);
      out += body;
      held_ = trailing;
    }
    if (end) held_ = 0;
    pass(out, first, end);
  }

 private:
  std::string content_;
  std::size_t start_, stop_;
  std::size_t left_ = 0;  // still to be removed in front
  std::size_t held_ = 0;
};

class MetaspaceStage final : public Stage {
 public:
  MetaspaceStage(std::string mark, bool prefixed) : mark_(std::move(mark)), prefixed_(prefixed) {}
  void push(std::string_view text, bool begin, bool end) override {
    if (text.find(mark_) == text.npos) {
      pass(text, begin, end);
    } else {
      pass(replace_all(text, mark_, first_ && prefixed_ ? "" : " "), begin, end);
    }
    if (end) first_ = false;
  }

 private:
  std::string mark_;
  bool prefixed_;
  bool first_ = true;
};

class WordPieceStage final : public WholeTokens {
 public:
  WordPieceStage(std::string prefix, bool cleanup) : prefix_(std::move(prefix)), cleanup_(cleanup) {}

 protected:
  void token(std::string_view text) override {
    std::string out;
    if (first_) {
      out = text;
    } else if (text.starts_with(prefix_)) {
      out = text.substr(prefix_.size());
    } else {
      out = " ";
      out += text;
    }
    first_ = false;
    if (cleanup_) {
      static constexpr std::pair<std::string_view, std::string_view> kRules[] = {
          {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
          {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
      for (const auto& [from, to] : kRules) out = replace_all(out, from, to);
    }
    pass(out, true, true);
  }

 private:
  std::string prefix_;
  bool cleanup_;
  bool first_ = true;
};

// The end-of-word suffix becomes a space, but not in the last token, which is therefore held back.
class BpeSuffixStage final : public WholeTokens {
 public:
  explicit BpeSuffixStage(std::string suffix) : suffix_(std::move(suffix)) {}
  void finish() override {
    if (held_) pass(replace_all(last_, suffix_, ""), true, true);
    next_->finish();
  }

 protected:
  void token(std::string_view text) override {
    if (held_) pass(replace_all(last_, suffix_, " "), true, true);
    last_ = text;
    held_ = true;
  }

 private:
  std::string suffix_, last_;
  bool held_ = false;
};

using MakeStage = std::function<std::unique_ptr<Stage>(bool eager)>;

class Chain final : public DecodeStream {
 public:
  Chain(const std::vector<MakeStage>& makers, bool eager) {
    for (const MakeStage& make : makers) stages_.push_back(make(eager));
    auto output = std::make_unique<Output>();
    output_ = output.get();
    stages_.push_back(std::move(output));
    for (std::size_t i = 0; i + 1 < stages_.size(); ++i) stages_[i]->set_next(stages_[i + 1].get());
  }
  void push(std::int32_t, std::string_view token, std::string& out) override {
    output_->out = &out;
    any_ = true;
    stages_.front()->push(token, true, true);
  }
  void finish(std::string& out) override {
    output_->out = &out;
    if (any_) stages_.front()->finish();
  }

 private:
  std::vector<std::unique_ptr<Stage>> stages_;
  Output* output_;
  bool any_ = false;
};

class ChainDecoder final : public Decoder {
 public:
  explicit ChainDecoder(std::vector<MakeStage> makers) : makers_(std::move(makers)) {}
  std::unique_ptr<DecodeStream> start(bool eager) const override { return std::make_unique<Chain>(makers_, eager); }

 private:
  std::vector<MakeStage> makers_;
};

template <typename T, typename... Args>
MakeStage maker(Args... args) {
  return [=](bool) { return std::make_unique<T>(args...); };
}

Result<MakeStage> parse_replace(const JsonField& field) {
  OCTAVO_ASSIGN(const JsonField pattern, field.member("pattern"));
  OCTAVO_ASSIGN(const std::string content, field.string("content"));
  if (const auto literal = pattern.find("String")) {
    OCTAVO_ASSIGN(const std::string text, literal->string());
    if (!text.empty() && text.size() == utf8_length_of(text[0])) return maker<ReplaceCharacter>(text, content);
  }
  OCTAVO_ASSIGN(Regex regex, parse_pattern(pattern));
  const auto shared = std::make_shared<const Regex>(std::move(regex));
  return MakeStage([shared, content](bool) { return std::make_unique<ReplaceStage>(*shared, content); });
}

Result<MakeStage> parse_stage(const JsonField& field, const std::string& type) {
  if (type == "ByteLevel") return maker<ByteLevelStage>();
  if (type == "Fuse") return maker<Fuse>();
  if (type == "ByteFallback") return MakeStage([](bool eager) { return std::make_unique<ByteFallbackStage>(eager); });
  if (type == "Replace") return parse_replace(field);
  if (type == "Strip") {
    constexpr std::int64_t kMost = 1 << 20;
    OCTAVO_ASSIGN(const JsonField content, field.member("content"));
    OCTAVO_ASSIGN(const char32_t c, content.character());
    OCTAVO_ASSIGN(const JsonField start_field, field.member("start"));
    OCTAVO_ASSIGN(const JsonField stop_field, field.member("stop"));
    OCTAVO_ASSIGN(const std::int64_t start, start_field.integer(0, kMost));
    OCTAVO_ASSIGN(const std::int64_t stop, stop_field.integer(0, kMost));
    std::string text;
    append_utf8(text, c);
    return maker<StripStage>(text, static_cast<std::size_t>(start), static_cast<std::size_t>(stop));
  }
  if (type == "Metaspace") {
    OCTAVO_ASSIGN(const JsonField replacement, field.member("replacement"));
    OCTAVO_ASSIGN(const char32_t c, replacement.character());
    bool prefixed = true;
    if (const auto scheme = field.find("prepend_scheme")) {
      OCTAVO_ASSIGN(const std::string name, scheme->string());
      prefixed = name != "never";
    }
    OCTAVO_ASSIGN(const bool add, field.boolean("add_prefix_space", true));
    std::string text;
    append_utf8(text, c);
    return maker<MetaspaceStage>(text, prefixed && add);
  }
  if (type == "WordPiece") {
    OCTAVO_ASSIGN(const std::string prefix, field.string("prefix"));
    OCTAVO_ASSIGN(const bool cleanup, field.boolean("cleanup"));
    return maker<WordPieceStage>(prefix, cleanup);
  }
  if (type == "BPEDecoder") {
    OCTAVO_ASSIGN(const std::string suffix, field.string("suffix"));
    return maker<BpeSuffixStage>(suffix);
  }
  return field.error("the decoder \"{}\" is not supported", printable(type));
}

Status parse_into(const JsonField& field, std::vector<MakeStage>& out, int depth) {
  constexpr std::size_t kMostStages = 256;
  if (depth > kMaxNesting) return field.error("decoders are nested deeper than {}", kMaxNesting);
  OCTAVO_ASSIGN(const std::string type, field.type());
  if (type == "Sequence") {
    OCTAVO_ASSIGN(const JsonField list, field.member("decoders"));
    OCTAVO_ASSIGN(const auto items, list.items());
    for (const JsonField& item : items) OCTAVO_TRY(parse_into(item, out, depth + 1));
    return {};
  }
  if (out.size() == kMostStages) return field.error("there are more than {} decoders", kMostStages);
  OCTAVO_ASSIGN(auto stage, parse_stage(field, type));
  out.push_back(std::move(stage));
  return {};
}

}  // namespace

Result<std::unique_ptr<Decoder>> parse_decoder(const JsonField& field) {
  std::vector<MakeStage> makers;
  if (field.json().is_null()) {
    makers.push_back(maker<JoinWithSpaces>());
  } else {
    OCTAVO_TRY(parse_into(field, makers, 0));
  }
  return std::unique_ptr<Decoder>(new ChainDecoder(std::move(makers)));
}

std::unique_ptr<Decoder> make_byte_level_decoder() {
  return std::make_unique<ChainDecoder>(std::vector<MakeStage>{maker<ByteLevelStage>()});
}

}  // namespace octavo::text
