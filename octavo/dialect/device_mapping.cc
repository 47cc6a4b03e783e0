// A parser of the few Python expressions that name GPUs.
#include "octavo/dialect/device_mapping.h"

#include <fmt/format.h>

#include <charconv>

namespace octavo::dialect {
namespace {

constexpr std::int64_t kMostDevices = 65536;
constexpr int kDeepest = 8;

class Parser {
 public:
  explicit Parser(std::string_view text) : rest_(text) {}

  Result<std::vector<std::int64_t>> run() {
    OCTAVO_TRY(sum(0));
    skip_spaces();
    if (!rest_.empty()) return wrong();
    return std::move(devices_);
  }

 private:
  static Error wrong() { return usage_error("must be GPUs as list(range(0,8)), [0, 1] or a sum of such lists"); }
  void skip_spaces() {
    while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\t' || rest_.front() == '\n')) {
      rest_.remove_prefix(1);
    }
  }
  bool take(std::string_view token) {
    skip_spaces();
    if (!rest_.starts_with(token)) return false;
    rest_.remove_prefix(token.size());
    return true;
  }
  Status number(std::int64_t& value) {
    skip_spaces();
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    if (error != std::errc() || value < -kMostDevices || value > kMostDevices) return wrong();
    rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
    return {};
  }

  Status sum(int depth) {
    OCTAVO_TRY(term(depth));
    while (take("+")) OCTAVO_TRY(term(depth));
    return {};
  }
  Status term(int depth) {
    if (depth == kDeepest) return wrong();
    if (take("list")) {
      if (!take("(")) return wrong();
      OCTAVO_TRY(sum(depth + 1));
      return take(")") ? Status() : wrong();
    }
    if (take("range")) return take("(") ? range() : wrong();
    if (take("[")) return numbers("]");
    if (take("(")) return numbers(")");
    return wrong();
  }
  Status numbers(std::string_view closing) {
    while (!take(closing)) {
      std::int64_t device = 0;
      OCTAVO_TRY(number(device));
      OCTAVO_TRY(add(device));
      if (!take(",")) return take(closing) ? Status() : wrong();
    }
    return {};
  }
  // Behind "range(": one number is the end, two are begin and end, a third is the step.
  Status range() {
    std::int64_t n[3] = {0, 0, 1};
    int count = 0;
    do {
      if (count == 3) return wrong();
      OCTAVO_TRY(number(n[count++]));
    } while (take(","));
    if (!take(")")) return wrong();
    const std::int64_t begin = count == 1 ? 0 : n[0], end = count == 1 ? n[0] : n[1], step = count == 3 ? n[2] : 1;
    if (step <= 0) return wrong();
    for (std::int64_t device = begin; device < end; device += step) OCTAVO_TRY(add(device));
    return {};
  }
  Status add(std::int64_t device) {
    if (device < 0) return usage_error("GPU {}: they are counted from 0", device);
    if (devices_.size() >= static_cast<std::size_t>(kMostDevices)) {
      return usage_error("names more than {} GPUs", kMostDevices);
    }
    devices_.push_back(device);
    return {};
  }

  std::string_view rest_;
  std::vector<std::int64_t> devices_;
};

}  // namespace

Result<std::vector<std::int64_t>> parse_device_mapping(std::string_view expression) { return Parser(expression).run(); }

std::string device_ranges(const std::vector<std::int64_t>& devices) {
  constexpr std::size_t kLongest = 80;
  std::string out;
  for (std::size_t i = 0; i < devices.size();) {
    std::size_t j = i;
    while (j + 1 < devices.size() && devices[j + 1] == devices[j] + 1) ++j;
    if (out.size() > kLongest) return out + ", ...";
    out += out.empty() ? "" : ", ";
    out += i == j ? fmt::format("{}", devices[i]) : fmt::format("{}-{}", devices[i], devices[j]);
    i = j + 1;
  }
  return out;
}

}  // namespace octavo::dialect
