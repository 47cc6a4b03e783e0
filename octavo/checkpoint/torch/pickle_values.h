// What a pickle can hold here: Python's plain values, storages and tensors. Values are small and refer to pools, so
// that nothing nests in memory, nothing is freed by recursion and a limit on the pools is a limit on everything.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "octavo/checkpoint/torch/globals.h"

namespace octavo {

struct PickleValue {
  enum class Kind : std::uint8_t {
    kNone,
    kBool,
    kInt,     // that fits 64 bits
    kLong,    // a longer one, as its two's complement bytes
    kFloat,   // its value is not kept
    kString,  // not necessarily UTF-8
    kBytes,
    kTuple,
    kList,
    kDict,
    kGlobal,
    kStorage,
    kTensor,
    kDevice,  // which one is not kept
  };
  Kind kind = Kind::kNone;
  std::uint32_t at = 0;     // its place in the pool of its kind
  std::int64_t number = 0;  // kBool, kInt: the value; kString, kBytes, kLong, kTuple: the length
};

struct PickleStorage {
  std::optional<DType> dtype;  // nullopt: counted in bytes
  PickleValue key;             // a string
  std::uint64_t count = 0;     // of elements, as the pickle claims
};

struct PickleTensor {
  std::uint32_t storage = 0;
  DType dtype = DType::kF32;
  std::uint64_t offset = 0;    // in elements from the start of the storage
  PickleValue shape, strides;  // tuples of equal length, of numbers of at least zero
};

class PickleHeap {
 public:
  using Pair = std::pair<PickleValue, PickleValue>;

  std::string_view text(PickleValue string) const {
    return std::string_view(text_).substr(string.at, static_cast<std::size_t>(string.number));
  }
  std::span<const PickleValue> tuple(PickleValue tuple) const {
    return std::span(items_).subspan(tuple.at, static_cast<std::size_t>(tuple.number));
  }
  const std::vector<PickleValue>& list(PickleValue list) const { return lists_[list.at]; }
  const std::vector<Pair>& dict(PickleValue dict) const { return dicts_[dict.at]; }  // in order; keys may repeat
  const PickleGlobal& global(PickleValue global) const { return *globals_[global.at]; }
  std::uint32_t storage_count() const { return static_cast<std::uint32_t>(storages_.size()); }
  const PickleStorage& storage(std::uint32_t number) const { return storages_[number]; }
  const PickleTensor& tensor(PickleValue tensor) const { return tensors_[tensor.at]; }

 private:
  friend class Unpickler;
  std::string text_;
  std::vector<PickleValue> items_;  // of tuples
  std::vector<std::vector<PickleValue>> lists_;
  std::vector<std::vector<Pair>> dicts_;
  std::vector<const PickleGlobal*> globals_;
  std::vector<PickleStorage> storages_;
  std::vector<PickleTensor> tensors_;
};

std::string_view pickle_kind_name(PickleValue::Kind kind);  // "a string", "a dict", for messages

}  // namespace octavo
