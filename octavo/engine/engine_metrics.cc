// Bounds of the histograms: vLLM's, so that its dashboards fit.
#include "octavo/engine/engine_metrics.h"

#include <algorithm>

namespace octavo::engine {
namespace {

constexpr auto kFirstToken =
    std::to_array<double>({0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,  0.25,  0.5,   0.75,
                           1.0,   2.5,   5.0,  7.5,  10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0});
constexpr auto kInterToken = std::to_array<double>(
    {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0});
constexpr auto kRequest =
    std::to_array<double>({0.3,  0.5,  0.8,  1.0,  1.5,   2.0,   2.5,   5.0,   10.0,   15.0,  20.0,
                           30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0});

}  // namespace

void Histogram::observe(double value) {
  const auto place = std::lower_bound(bounds.begin(), bounds.end(), value) - bounds.begin();
  ++counts[static_cast<std::size_t>(place)];
  sum += value;
  ++count;
}

EngineMetrics::EngineMetrics()
    : time_to_first_token(kFirstToken), inter_token_latency(kInterToken), e2e_latency(kRequest), queue_time(kRequest) {}

double EngineMetrics::kv_usage() const {
  return kv_blocks == 0 ? 0 : static_cast<double>(kv_blocks_used) / static_cast<double>(kv_blocks);
}

}  // namespace octavo::engine
