// What is known of a tensor before its bytes.
#pragma once

#include <string>

#include "octavo/base/dtype.h"

namespace octavo::rollout {

struct TensorInfo {
  std::string name;
  DType dtype = DType::kBF16;
  Shape shape;
};

}  // namespace octavo::rollout
