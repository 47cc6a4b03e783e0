// Finding the state dict and checking its tensors.
#include "octavo/checkpoint/torch/state_dict.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <unordered_set>

#include "octavo/base/text.h"

namespace octavo {
namespace {

using Kind = PickleValue::Kind;

// Training scripts put the state dict beside their own state under one of these.
constexpr std::array<std::string_view, 3> kWrappers = {"state_dict", "model", "module"};

Shape numbers(const PickleHeap& heap, PickleValue tuple) {
  Shape out;
  for (const PickleValue& value : heap.tuple(tuple)) out.push_back(static_cast<std::uint64_t>(value.number));
  return out;
}

// Whether walking `shape` with its axes in the given order moves through memory without a gap.
bool is_dense(const Shape& shape, const Shape& strides, const std::vector<std::size_t>& axes) {
  std::uint64_t expected = 1;
  for (std::size_t i = axes.size(); i-- > 0;) {
    if (shape[axes[i]] == 1) continue;
    if (strides[axes[i]] != expected) return false;
    expected *= shape[axes[i]];  // the elements' count has been checked
  }
  return true;
}

Status check_strides(const Shape& shape, const Shape& strides) {
  std::vector<std::size_t> axes(shape.size());
  std::iota(axes.begin(), axes.end(), std::size_t{0});
  if (is_dense(shape, strides, axes)) return {};
  std::stable_sort(axes.begin(), axes.end(), [&](std::size_t a, std::size_t b) { return strides[a] > strides[b]; });
  const bool transposed = is_dense(shape, strides, axes);
  return failure("{} with strides {} is {}: save it again after .contiguous()", shape_string(shape),
                 shape_string(strides),
                 transposed ? "stored transposed" : "a view that does not lie in one piece of its storage");
}

Result<StateTensor> read_tensor(const PickleHeap& heap, PickleValue value) {
  const PickleTensor& tensor = heap.tensor(value);
  StateTensor out;
  out.dtype = tensor.dtype;
  out.shape = numbers(heap, tensor.shape);
  out.storage = tensor.storage;
  const auto bytes = byte_count(out.dtype, out.shape);
  const auto storage = storage_bytes(heap.storage(tensor.storage));
  if (!bytes || !storage) return failure("{} of {} is too large", shape_string(out.shape), dtype_name(out.dtype));
  out.bytes = *bytes;
  if (*bytes > 0) OCTAVO_TRY(check_strides(out.shape, numbers(heap, tensor.strides)));
  if (__builtin_mul_overflow(tensor.offset, std::uint64_t{dtype_bytes(out.dtype)}, &out.begin) ||
      out.begin > *storage || *bytes > *storage - out.begin) {
    return failure("{} {} from element {} on reaches past its storage of {} bytes", dtype_name(out.dtype),
                   shape_string(out.shape), tensor.offset, *storage);
  }
  return out;
}

}  // namespace

std::optional<std::uint64_t> storage_bytes(const PickleStorage& storage) {
  std::uint64_t bytes = 0;
  const std::uint64_t width = storage.dtype ? dtype_bytes(*storage.dtype) : 1;
  if (__builtin_mul_overflow(storage.count, width, &bytes)) return std::nullopt;
  return bytes;
}

Result<StateDict> read_state_dict(const PickleHeap& heap, PickleValue top) {
  if (top.kind != Kind::kDict) {
    return failure("holds {} where a state dict (a dict of tensors by name) is needed", pickle_kind_name(top.kind));
  }
  StateDict out;
  const auto is_tensor = [](const PickleHeap::Pair& pair) { return pair.second.kind == Kind::kTensor; };
  const std::vector<PickleHeap::Pair>* pairs = &heap.dict(top);
  if (std::none_of(pairs->begin(), pairs->end(), is_tensor)) {
    const std::vector<PickleHeap::Pair>* inner = nullptr;
    for (const auto& [key, value] : *pairs) {
      const std::string_view name = key.kind == Kind::kString ? heap.text(key) : "";
      if (value.kind != Kind::kDict || std::find(kWrappers.begin(), kWrappers.end(), name) == kWrappers.end()) {
        out.left_out.push_back(key.kind == Kind::kString ? printable(name) : std::string(pickle_kind_name(key.kind)));
        continue;
      }
      if (inner != nullptr) {
        return failure("holds two state dicts, \"{}\" and \"{}\": which is meant is not known", out.wrapper, name);
      }
      inner = &heap.dict(value);
      out.wrapper = name;
    }
    if (inner != nullptr) pairs = inner;
  }
  if (out.wrapper.empty()) out.left_out.clear();  // then its values are refused below, by name

  const std::string where = out.wrapper.empty() ? "" : fmt::format(" in \"{}\"", out.wrapper);
  std::unordered_set<std::string_view> names;
  out.tensors.reserve(pairs->size());
  for (const auto& [key, value] : *pairs) {
    if (key.kind != Kind::kString) {
      return failure("the state dict has {} as a key, tensors have names", pickle_kind_name(key.kind));
    }
    const std::string_view name = heap.text(key);
    if (!is_valid_utf8(name)) return failure("tensor \"{}\": the name is not UTF-8", printable(name));
    if (value.kind != Kind::kTensor) {
      return failure("\"{}\"{} is {}, a state dict holds only tensors", printable(name), where,
                     pickle_kind_name(value.kind));
    }
    if (!names.insert(name).second) return failure("tensor \"{}\" appears twice", printable(name));
    auto tensor = read_tensor(heap, value);
    if (!tensor.ok()) return std::move(tensor).error().context(fmt::format("tensor \"{}\"", printable(name)));
    tensor->name = name;
    out.tensors.push_back(std::move(tensor).value());
  }
  if (out.tensors.empty()) return failure("holds no tensors");
  return out;
}

}  // namespace octavo
