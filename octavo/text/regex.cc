// PCRE2: compiled once, matched with per-scan state.
#include "octavo/text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>

#include "octavo/base/text.h"
#include "octavo/text/onig_syntax.h"
#include "octavo/text/utf8.h"

namespace octavo::text {
namespace {

constexpr std::uint32_t kMatchLimit = 10'000'000;  // backtracking steps from one start
constexpr std::uint32_t kHeapLimit = 64 * 1024;    // KiB, for machines without the JIT
constexpr std::size_t kJitStack = 32 * 1024, kLargestJitStack = 32 * 1024 * 1024;
constexpr std::size_t kLongestPattern = 64 * 1024;

std::string pcre2_message(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

}  // namespace

struct Regex::Code {
  pcre2_code* code = nullptr;
  std::string source;
  Code() = default;
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
  ~Code() { pcre2_code_free(code); }
};

Result<Regex> Regex::make(std::string_view source, const std::string& pattern, std::uint32_t options) {
  auto code = std::make_shared<Code>();
  code->source = source;
  int error = 0;
  std::size_t offset = 0;
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  code->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), options, &error, &offset, context);
  pcre2_compile_context_free(context);
  if (code->code == nullptr) {
    return failure("the regular expression \"{}\" cannot be compiled: {}", printable(source), pcre2_message(error));
  }
  pcre2_jit_compile(code->code, PCRE2_JIT_COMPLETE);  // without a JIT the interpreter does the same, slower
  return Regex(std::move(code));
}

Result<Regex> Regex::compile(std::string_view oniguruma) {
  if (oniguruma.size() > kLongestPattern) {
    return failure("a regular expression has {} bytes; {} is the most", oniguruma.size(), kLongestPattern);
  }
  auto translated = translate_oniguruma(oniguruma);
  if (!translated.ok()) {
    return failure("the regular expression \"{}\" cannot be compiled: {}", printable(oniguruma),
                   translated.error().message);
  }
  return make(oniguruma, *translated, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C);
}

Result<Regex> Regex::literal(std::string_view text) {
  if (text.size() > kLongestPattern) {
    return failure("a pattern has {} bytes; {} is the most", text.size(), kLongestPattern);
  }
  return make(text, std::string(text), PCRE2_UTF | PCRE2_LITERAL);
}

struct Regex::Scan::State {
  pcre2_match_data* data;
  pcre2_match_context* context;
  pcre2_jit_stack* stack = nullptr;
  State() : data(pcre2_match_data_create(1, nullptr)), context(pcre2_match_context_create(nullptr)) {
    pcre2_set_match_limit(context, kMatchLimit);
    pcre2_set_heap_limit(context, kHeapLimit);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
};

Regex::Scan::Scan(const Regex& regex, std::string_view text)
    : code_(*regex.code_), text_(text), state_(std::make_unique<State>()) {}
Regex::Scan::~Scan() = default;

Result<bool> Regex::Scan::next() {
  while (from_ <= text_.size()) {
    int code = 0;
    for (;;) {
      code = pcre2_match(code_.code, reinterpret_cast<PCRE2_SPTR>(text_.data()), text_.size(), from_,
                         PCRE2_NO_UTF_CHECK, state_->data, state_->context);
      if (code != PCRE2_ERROR_JIT_STACKLIMIT || state_->stack != nullptr) break;
      state_->stack = pcre2_jit_stack_create(kJitStack, kLargestJitStack, nullptr);
      if (state_->stack == nullptr) break;
      pcre2_jit_stack_assign(state_->context, nullptr, state_->stack);
    }
    if (code == PCRE2_ERROR_NOMATCH) return false;
    if (code < 0) {
      return failure("the regular expression \"{}\" gave up on this text: {}", printable(code_.source),
                     pcre2_message(code));
    }
    const PCRE2_SIZE* span = pcre2_get_ovector_pointer(state_->data);
    const std::size_t begin = std::min(span[0], span[1]), end = span[1];  // \K in a lookahead can swap them
    if (begin == end && matched_ && end == end_) {
      from_ += from_ < text_.size() ? utf8_length_of(text_[from_]) : 1;
      continue;
    }
    begin_ = begin;
    end_ = end;
    from_ = end;
    matched_ = true;
    return true;
  }
  return false;
}

}  // namespace octavo::text
