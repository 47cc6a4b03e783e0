// How a LoadReport comes about: linear by linear, from a folder or from a generator.
#pragma once

#include <set>
#include <string>

#include "octavo/model/weights.h"

namespace octavo::model {

class ReportBuilder {
 public:
  void add(const LinearWeight& weight);
  void add_fp8_head(const LinearWeight& weight, bool copy);  // that HeadMode::kFp8 made
  void add_vector(std::uint64_t floats) { report_.resident["F32"] += floats * sizeof(float); }
  // resident, fp8_linears, weights, activations; the rest is the caller's.
  LoadReport finish();

 private:
  LoadReport report_;
  std::set<std::string> weights_, activations_, kept_;
};

}  // namespace octavo::model
