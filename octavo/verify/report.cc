// Text and JSON of a verification report.
#include "octavo/verify/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "octavo/base/text.h"

namespace octavo::verify {
namespace {

constexpr std::size_t kWorstShown = 10;
constexpr std::size_t kViolationsShown = 50;

std::string decibels(double value) { return std::isinf(value) ? "exact" : fmt::format("{:.2f}", value); }

// JSON has no infinity; an exact tensor has no finite SQNR.
Json decibels_json(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

std::string kind_table(const Report& report) {
  std::string out;
  if (report.against_source) {
    out = fmt::format("  {:<16} {:>7} {:>12} {:>12} {:>23}\n", "kind of layer", "tensors", "worst SQNR", "median SQNR",
                      "scale range");
    for (const KindSummary& k : report.kinds) {
      out += fmt::format("  {:<16} {:>7} {:>9} dB {:>9} dB {:>23}\n", k.kind, k.tensors, decibels(k.worst_sqnr_db),
                         decibels(k.median_sqnr_db), fmt::format("{:.3g} .. {:.3g}", k.min_scale, k.max_scale));
    }
    return out;
  }
  out = fmt::format("  {:<16} {:>7} {:>23}\n", "kind of layer", "tensors", "scale range");
  for (const KindSummary& k : report.kinds) {
    out += fmt::format("  {:<16} {:>7} {:>23}\n", k.kind, k.tensors,
                       fmt::format("{:.3g} .. {:.3g}", k.min_scale, k.max_scale));
  }
  return out;
}

}  // namespace

std::string format_report(const Report& report) {
  std::string out = fmt::format("{}\n{} tensors: {} quantized, {} kept; {}", report.description, report.tensors,
                                report.quantized, report.kept, human_bytes(report.bytes));
  if (report.source_bytes != 0) {
    out += fmt::format(" against {} ({:.1f} %)", human_bytes(report.source_bytes),
                       100.0 * static_cast<double>(report.bytes) / static_cast<double>(report.source_bytes));
  }
  out += "\n";
  if (!report.kinds.empty()) out += "\n" + kind_table(report);
  if (!report.errors.empty()) {
    const std::size_t shown = std::min(kWorstShown, report.errors.size());
    out += fmt::format("\n  {} tensors furthest from their source\n", shown);
    for (std::size_t i = 0; i < shown; ++i) {
      const TensorError& e = report.errors[i];
      out += fmt::format("  {:>9} dB  cosine {:.6f}  max error {:.3g}  {}\n", decibels(e.sqnr_db), e.cosine,
                         e.max_abs_error, printable(e.name));
    }
  }
  out += "\n";
  for (const std::string& warning : report.warnings) out += fmt::format("warning: {}\n", warning);
  const std::size_t shown = std::min(kViolationsShown, report.violations.size());
  for (std::size_t i = 0; i < shown; ++i) {
    const Violation& v = report.violations[i];
    out += fmt::format("VIOLATION{} {}: {}\n", v.loader.empty() ? "" : fmt::format(" ({})", v.loader), v.where, v.what);
  }
  if (shown < report.violations.size()) {
    out += fmt::format("... and {} more violations (--json lists all)\n", report.violations.size() - shown);
  }
  out += report.ok() ? "OK: no violation" : fmt::format("FAILED: {} violations", report.violations.size());
  return out + "\n";
}

Json report_json(const Report& report) {
  Json root = {{"ok", report.ok()},
               {"description", report.description},
               {"tensors", report.tensors},
               {"quantized", report.quantized},
               {"kept", report.kept},
               {"bytes", report.bytes}};
  if (report.source_bytes != 0) root["source_bytes"] = report.source_bytes;
  root["seconds"] = report.seconds;
  root["violations"] = Json::array();
  for (const Violation& v : report.violations) {
    Json item = {{"where", v.where}, {"what", v.what}};
    if (!v.loader.empty()) item["loader"] = v.loader;
    root["violations"].push_back(std::move(item));
  }
  root["warnings"] = report.warnings;
  root["kinds"] = Json::array();
  for (const KindSummary& k : report.kinds) {
    Json item = {{"kind", k.kind}, {"tensors", k.tensors}, {"min_scale", k.min_scale}, {"max_scale", k.max_scale}};
    if (report.against_source) {
      item["worst_sqnr_db"] = decibels_json(k.worst_sqnr_db);
      item["median_sqnr_db"] = decibels_json(k.median_sqnr_db);
    }
    root["kinds"].push_back(std::move(item));
  }
  if (report.against_source) {
    root["errors"] = Json::array();
    for (const TensorError& e : report.errors) {
      root["errors"].push_back({{"name", e.name},
                                {"sqnr_db", decibels_json(e.sqnr_db)},
                                {"cosine", e.cosine},
                                {"max_abs_error", e.max_abs_error},
                                {"elements", e.elements},
                                {"saturated", e.saturated}});
    }
  }
  return root;
}

}  // namespace octavo::verify
