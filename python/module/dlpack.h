// The structures of DLPack 0.x as a "dltensor" capsule carries them, for devices that are this machine's memory:
// https://dmlc.github.io/dlpack/latest/c_api.html
#pragma once

#include <cstdint>

namespace octavo::python::dlpack {

enum DeviceType : std::int32_t { kCpu = 1, kCudaHost = 3 };
enum TypeCode : std::uint8_t {
  kInt = 0,
  kUInt = 1,
  kFloat = 2,
  kBFloat = 4,
  kFloat8E4M3Fn = 10,
  kFloat8E5M2 = 12,
  kFloat8E8M0 = 14,
};

struct Device {
  std::int32_t type;
  std::int32_t id;
};
struct DataType {
  std::uint8_t code;
  std::uint8_t bits;
  std::uint16_t lanes;
};
struct Tensor {
  void* data;
  Device device;
  std::int32_t ndim;
  DataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null: row-major
  std::uint64_t byte_offset;
};
struct ManagedTensor {
  Tensor tensor;
  void* context;
  void (*deleter)(ManagedTensor* self);
};

}  // namespace octavo::python::dlpack
