// The engine's sentences name its own parameters ("top_p 2: must be ..."); here they are options of the command line
// ("--top-p 2: must be ...").
#pragma once

#include "octavo/base/status.h"

namespace octavo::cli {

Error in_flags(Error error);

template <typename T>
Result<T> in_flags(Result<T> result) {
  if (result.ok()) return result;
  return in_flags(std::move(result).error());
}

}  // namespace octavo::cli
