// Memory of others, seen without a copy: anything with the buffer protocol or __dlpack__. And the library's own memory,
// shown by both.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <vector>

#include "octavo/capi/octavo.h"

namespace octavo::python {

namespace py = pybind11;

// Whole, contiguous, in this machine's memory; holds on to what it is of.
class Tensor {
 public:
  // `dtype`: what the elements mean, as safetensors spells it; "": what the object itself says. Throws TypeError for
  // what has neither protocol, and ValueError for another device, a stride, an element type without a name.
  static std::unique_ptr<Tensor> of(const py::object& object, const std::string& dtype);

  const void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  const std::string& dtype() const { return dtype_; }
  const std::vector<std::uint64_t>& shape() const { return shape_; }

 private:
  void take_buffer(const py::object& object, const std::string& dtype);
  void take_dlpack(const py::object& object, const std::string& dtype);

  std::shared_ptr<void> owner_;
  const void* data_ = nullptr;
  std::size_t bytes_ = 0;
  std::string dtype_;
  std::vector<std::uint64_t> shape_;
};

// Codes or scales of an octavo_encoded, which lives as long as they do.
class Array {
 public:
  Array(std::shared_ptr<octavo_encoded> owner, const octavo_array& array) : owner_(std::move(owner)), array_(array) {}

  const octavo_array& get() const { return array_; }
  py::tuple shape() const;
  py::buffer_info buffer() const;  // FP8 and E8M0 as uint8, BF16 as uint16
  py::capsule dlpack() const;      // FP8 and E8M0 as uint8, BF16 as bfloat16

 private:
  std::shared_ptr<octavo_encoded> owner_;
  octavo_array array_;
};

}  // namespace octavo::python
