// What a model's weights are, in words.
#include "octavo/model/load_report.h"

#include <fmt/ranges.h>

namespace octavo::model {
namespace {

using backend::InputRounding;
using backend::LinearSpec;

std::string granularity(const LinearSpec& s) {
  if (s.block_n >= s.n && s.block_k >= s.k) return "per tensor";
  if (s.block_n == 1 && s.block_k >= s.k) return "per channel";
  if (s.block_n == 1) return fmt::format("groups of {}", s.block_k);
  return fmt::format("{}x{} blocks", s.block_n, s.block_k);
}

std::string rounding_text(const InputRounding& r) {
  switch (r.kind) {
    case InputRounding::Kind::kNone: break;
    case InputRounding::Kind::kDynamicToken: return "E4M3 per token";
    case InputRounding::Kind::kDynamicGroup: return fmt::format("E4M3 per group of {}", r.group);
    case InputRounding::Kind::kStatic: return "E4M3 static";
  }
  return "";
}

}  // namespace

void ReportBuilder::add(const LinearWeight& weight) {
  const LinearSpec& spec = weight.spec();
  report_.resident[std::string(dtype_name(weight.stored_dtype()))] += weight.resident_bytes();
  if (!is_fp8(spec.dtype)) {
    kept_.emplace(dtype_name(weight.stored_dtype()));
    return;
  }
  ++report_.fp8_linears;
  weights_.insert(fmt::format("{} {}", dtype_name(spec.dtype), granularity(spec)));
  if (const std::string text = rounding_text(spec.input); !text.empty()) activations_.insert(text);
}

void ReportBuilder::add_fp8_head(const LinearWeight& weight, bool copy) {
  const LinearSpec& spec = weight.spec();
  report_.resident[std::string(dtype_name(weight.stored_dtype()))] += weight.resident_bytes();
  report_.fp8_head = Fp8HeadReport{fmt::format("{} {}", dtype_name(spec.dtype), granularity(spec)),
                                   rounding_text(spec.input), weight.resident_bytes(), copy};
}

LoadReport ReportBuilder::finish() {
  report_.weights = fmt::format("{}", fmt::join(weights_.empty() ? kept_ : weights_, ", "));
  report_.activations = fmt::format("{}", fmt::join(activations_, ", "));
  return std::move(report_);
}

}  // namespace octavo::model
