// The table of allowed names, as versions of torch have written them.
#include "octavo/checkpoint/torch/globals.h"

#include <algorithm>
#include <iterator>

namespace octavo {
namespace {

using enum PickleCallable;

constexpr PickleGlobal function(std::string_view module, std::string_view name, PickleCallable callable) {
  return {module, name, callable, false, std::nullopt};
}
constexpr PickleGlobal storage(std::string_view name, DType dtype) { return {"torch", name, kNone, true, dtype}; }
constexpr PickleGlobal untyped(std::string_view module, std::string_view name) {
  return {module, name, kNone, true, std::nullopt};
}
constexpr PickleGlobal dtype(std::string_view name, DType dtype) { return {"torch", name, kNone, false, dtype}; }

constexpr PickleGlobal kAllowed[] = {
    function("collections", "OrderedDict", kOrderedDict),
    function("torch._utils", "_rebuild_tensor", kRebuildTensor),
    function("torch._utils", "_rebuild_tensor_v2", kRebuildTensorV2),
    function("torch._utils", "_rebuild_tensor_v3", kRebuildTensorV3),
    function("torch._utils", "_rebuild_parameter", kRebuildParameter),
    function("torch._utils", "_rebuild_parameter_with_state", kRebuildParameterWithState),
    function("torch", "Size", kSize),
    function("torch", "device", kDevice),
    storage("FloatStorage", DType::kF32),
    storage("HalfStorage", DType::kF16),
    storage("BFloat16Storage", DType::kBF16),
    storage("DoubleStorage", DType::kF64),
    storage("LongStorage", DType::kI64),
    storage("IntStorage", DType::kI32),
    storage("ShortStorage", DType::kI16),
    storage("CharStorage", DType::kI8),
    storage("ByteStorage", DType::kU8),
    storage("BoolStorage", DType::kBool),
    storage("ComplexFloatStorage", DType::kC64),
    untyped("torch", "UntypedStorage"),
    untyped("torch.storage", "UntypedStorage"),
    untyped("torch.storage", "_UntypedStorage"),
    dtype("float32", DType::kF32),
    dtype("float16", DType::kF16),
    dtype("bfloat16", DType::kBF16),
    dtype("float64", DType::kF64),
    dtype("int64", DType::kI64),
    dtype("int32", DType::kI32),
    dtype("int16", DType::kI16),
    dtype("int8", DType::kI8),
    dtype("uint8", DType::kU8),
    dtype("uint16", DType::kU16),
    dtype("uint32", DType::kU32),
    dtype("uint64", DType::kU64),
    dtype("bool", DType::kBool),
    dtype("complex64", DType::kC64),
    dtype("float8_e4m3fn", DType::kF8E4M3),
    dtype("float8_e4m3fnuz", DType::kF8E4M3FNUZ),
    dtype("float8_e5m2", DType::kF8E5M2),
    dtype("float8_e5m2fnuz", DType::kF8E5M2FNUZ),
    dtype("float8_e8m0fnu", DType::kF8E8M0),
};

}  // namespace

const PickleGlobal* find_pickle_global(std::string_view module, std::string_view name) {
  const auto* found = std::find_if(std::begin(kAllowed), std::end(kAllowed), [&](const PickleGlobal& global) {
    return global.module == module && global.name == name;
  });
  return found == std::end(kAllowed) ? nullptr : found;
}

}  // namespace octavo
