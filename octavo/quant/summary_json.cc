// A summary as JSON.
#include "octavo/quant/summary_json.h"

#include <cmath>
#include <limits>

#include "octavo/base/memory.h"

namespace octavo::quant {
namespace {

// JSON has no infinity.
Json sqnr_json(const Distortion& d) { return d.noise > 0 ? Json(sqnr_db(d)) : Json(nullptr); }

}  // namespace

double sqnr_db(const Distortion& d) {
  return d.noise > 0 ? 10.0 * std::log10(d.signal / d.noise) : std::numeric_limits<double>::infinity();
}

double gb_per_second(const Summary& s) {
  return s.seconds > 0 ? static_cast<double>(s.part_bytes - s.resumed_bytes) / 1e9 / s.seconds : 0;
}

Json summary_json(const std::string& out_folder, const Plan& plan, const Summary& s, bool with_sqnr) {
  Json kinds = Json::array();
  for (const auto& kind : s.kinds) {
    kinds.push_back(
        {{"kind", kind.kind}, {"tensors", kind.tensors}, {"min_scale", kind.min_scale}, {"max_scale", kind.max_scale}});
    if (with_sqnr) kinds.back()["sqnr_db"] = sqnr_json(kind.distortion);
  }
  Json out = {{"output", out_folder},
              {"already_finished", s.already_finished},
              {"scheme", plan.spec.scheme.name},
              {"format", format_name(plan.spec.format)},
              {"quantized", s.quantized},
              {"relabelled", plan.relabelled},
              {"dequantized", plan.decoded},
              {"kept", s.kept},
              {"source_bytes", s.source_bytes},
              {"output_bytes", s.output_bytes},
              {"seconds", s.seconds},
              {"gb_per_s", gb_per_second(s)},
              {"resumed_bytes", s.resumed_bytes},
              {"missing_parts", s.missing_parts},
              {"peak_memory_bytes", peak_memory()},
              {"zeroed", s.zeroed},
              {"edge_channel", plan.edge_channel},
              {"kinds", std::move(kinds)},
              {"warnings", plan.warnings}};
  if (!with_sqnr || s.already_finished) return out;
  Json& modules = out["sqnr"] = Json::array();
  for (const auto& module : s.distortions) {
    modules.push_back({{"module", module.module}, {"db", sqnr_json(module.distortion)}});
  }
  return out;
}

}  // namespace octavo::quant
