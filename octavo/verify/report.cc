// Text and JSON of a verification report.
#include "octavo/verify/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include "octavo/base/text.h"

namespace octavo::verify {
namespace {

constexpr std::size_t kWorstShown = 10;
constexpr std::size_t kViolationsShown = 50;
constexpr std::size_t kWarningsShown = 20;

std::string decibels(double value) { return std::isinf(value) ? "exact" : fmt::format("{:.2f} dB", value); }

// JSON has no infinity; an exact tensor has no finite SQNR.
Json decibels_json(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

std::string kind_table(const Report& report) {
  std::size_t width = std::string_view("kind of layer").size();
  for (const KindSummary& k : report.kinds) width = std::max(width, printable(k.kind, 40).size());
  std::string out = fmt::format("  {:<{}}  {:>7}", "kind of layer", width, "tensors");
  if (report.against_source) out += fmt::format("  {:>10}  {:>11}", "worst SQNR", "median SQNR");
  out += "  scales\n";
  for (const KindSummary& k : report.kinds) {
    out += fmt::format("  {:<{}}  {:>7}", printable(k.kind, 40), width, k.tensors);
    if (report.against_source) {
      out += fmt::format("  {:>10}  {:>11}", k.measured == 0 ? "-" : decibels(k.worst_sqnr_db),
                         k.measured == 0 ? "-" : decibels(k.median_sqnr_db));
    }
    out += fmt::format("  {:.3g} .. {:.3g}\n", k.min_scale, k.max_scale);
  }
  return out;
}

std::string worst_table(const Report& report) {
  const std::size_t shown = std::min(kWorstShown, report.errors.size());
  std::string out = fmt::format("  {:>10}  {:>8}  {:>9}  {:>9}  the {} furthest from the source\n", "SQNR", "cosine",
                                "max error", "saturated", shown);
  for (std::size_t i = 0; i < shown; ++i) {
    const TensorError& e = report.errors[i];
    out += fmt::format("  {:>10}  {:>8.6f}  {:>9.3g}  {:>9}  {}\n", decibels(e.sqnr_db), e.cosine, e.max_abs_error,
                       e.saturated, printable(e.name));
  }
  return out;
}

// One line for all violations that say the same of different places: hundreds of layers make hundreds of them.
std::string violations_text(const Report& report) {
  struct Line {
    const Violation* first;
    std::size_t more = 0;
  };
  std::vector<Line> lines;
  std::map<std::pair<std::string_view, std::string_view>, std::size_t> line_of;  // by loader and sentence
  for (const Violation& v : report.violations) {
    const auto [it, added] = line_of.try_emplace({v.loader, v.what}, lines.size());
    if (added) {
      lines.push_back({&v});
    } else {
      ++lines[it->second].more;
    }
  }
  std::string out;
  for (std::size_t i = 0; i < std::min(kViolationsShown, lines.size()); ++i) {
    const Violation& v = *lines[i].first;
    out += fmt::format("VIOLATION{}: {}{}: {}\n", v.loader.empty() ? "" : fmt::format(" ({})", v.loader), v.where,
                       lines[i].more == 0 ? "" : fmt::format(" and {} more", lines[i].more), v.what);
  }
  if (lines.size() > kViolationsShown) {
    out += fmt::format("... and {} (--json lists all)\n", counted(lines.size() - kViolationsShown, "more kind"));
  }
  return out;
}

}  // namespace

std::string counted(std::uint64_t count, std::string_view noun) {
  if (count != 1 && noun.ends_with('y')) return fmt::format("{} {}ies", count, noun.substr(0, noun.size() - 1));
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string format_report(const Report& report) {
  std::string out = fmt::format("{}\n{}: {} quantized, {} kept", report.description, counted(report.tensors, "tensor"),
                                report.quantized, report.kept);
  if (report.scales != 0) out += fmt::format(", and {}", counted(report.scales, "scale tensor"));
  out += fmt::format("; {}", human_bytes(report.bytes));
  if (report.source_bytes != 0) {
    out += fmt::format(", {:.1f} % of the source's {}",
                       100.0 * static_cast<double>(report.bytes) / static_cast<double>(report.source_bytes),
                       human_bytes(report.source_bytes));
  }
  out += "\n";
  for (const RuleSummary& r : report.rules)
    out += fmt::format("codes: {} ({})\n", r.rule, counted(r.tensors, "tensor"));
  if (!report.kinds.empty()) out.append("\n").append(kind_table(report));
  if (!report.errors.empty()) out.append("\n").append(worst_table(report));
  out += "\n";
  const std::size_t warnings = std::min(kWarningsShown, report.warnings.size());
  for (std::size_t i = 0; i < warnings; ++i) out += fmt::format("warning: {}\n", report.warnings[i]);
  if (warnings < report.warnings.size()) {
    out += fmt::format("... and {} (--json lists all)\n", counted(report.warnings.size() - warnings, "more warning"));
  }
  out += violations_text(report);
  for (const LoaderSummary& l : report.loaders) {
    out += fmt::format("{} {}: {}\n", l.name, l.version,
                       l.violations == 0 ? "nothing it would refuse" : counted(l.violations, "violation"));
  }
  out += report.ok() ? "OK: no violation" : fmt::format("FAILED: {}", counted(report.violations.size(), "violation"));
  return out + "\n";
}

Json report_json(const Report& report) {
  Json root = {{"ok", report.ok()},         {"description", report.description},
               {"tensors", report.tensors}, {"quantized", report.quantized},
               {"kept", report.kept},       {"scales", report.scales},
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
  root["loaders"] = Json::array();
  for (const LoaderSummary& l : report.loaders) {
    root["loaders"].push_back({{"name", l.name}, {"version", l.version}, {"violations", l.violations}});
  }
  root["kinds"] = Json::array();
  for (const KindSummary& k : report.kinds) {
    Json item = {
        {"kind", printable(k.kind)}, {"tensors", k.tensors}, {"min_scale", k.min_scale}, {"max_scale", k.max_scale}};
    if (report.against_source) {
      item["worst_sqnr_db"] = k.measured == 0 ? Json(nullptr) : decibels_json(k.worst_sqnr_db);
      item["median_sqnr_db"] = k.measured == 0 ? Json(nullptr) : decibels_json(k.median_sqnr_db);
    }
    root["kinds"].push_back(std::move(item));
  }
  if (!report.against_source) return root;
  root["rules"] = Json::array();
  for (const RuleSummary& r : report.rules) root["rules"].push_back({{"rule", r.rule}, {"tensors", r.tensors}});
  root["errors"] = Json::array();
  for (const TensorError& e : report.errors) {
    root["errors"].push_back({{"name", printable(e.name)},
                              {"sqnr_db", decibels_json(e.sqnr_db)},
                              {"cosine", e.cosine},
                              {"max_abs_error", e.max_abs_error},
                              {"elements", e.elements},
                              {"saturated", e.saturated}});
  }
  return root;
}

}  // namespace octavo::verify
