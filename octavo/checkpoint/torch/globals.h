// The names that a pickle may ask for: everything that pickled tensors need. A name that is not here is refused.
#pragma once

#include <optional>
#include <string_view>

#include "octavo/base/dtype.h"

namespace octavo {

enum class PickleCallable {
  kNone,  // a storage type or a dtype: a value, never called
  kOrderedDict,
  kRebuildTensor,
  kRebuildTensorV2,
  kRebuildTensorV3,
  kRebuildParameter,
  kRebuildParameterWithState,
  kSize,
  kDevice,
};

struct PickleGlobal {
  std::string_view module;
  std::string_view name;
  PickleCallable callable = PickleCallable::kNone;
  bool storage = false;        // a storage type
  std::optional<DType> dtype;  // of its elements, or the dtype itself; nullopt: an untyped storage, of bytes
};

// nullptr for a name that is not allowed. The result lives as long as the program.
const PickleGlobal* find_pickle_global(std::string_view module, std::string_view name);

}  // namespace octavo
