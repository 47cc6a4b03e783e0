// /metrics: what the engine counted, in Prometheus' text form, under vLLM's names where they mean the same.
#pragma once

#include <string>

#include "octavo/engine/engine_metrics.h"

namespace octavo::serve {

inline constexpr const char* kMetricsType = "text/plain; version=0.0.4; charset=utf-8";

// `model` is the label model_name.
std::string metrics_text(const engine::EngineMetrics& metrics, const std::string& model);

}  // namespace octavo::serve
