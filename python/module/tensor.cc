// The two protocols, in both directions.
#include "python/module/tensor.h"

#include <array>
#include <cstring>
#include <optional>

#include "python/module/dlpack.h"

namespace octavo::python {
namespace {

struct Element {
  std::string_view name;  // of safetensors
  std::uint8_t code, bits;
  std::string_view formats;  // of the buffer protocol; "": it has none
};
constexpr std::array<Element, 10> kElements{{{"BF16", dlpack::kBFloat, 16, ""},
                                             {"F16", dlpack::kFloat, 16, "e"},
                                             {"F32", dlpack::kFloat, 32, "f"},
                                             {"F64", dlpack::kFloat, 64, "d"},
                                             {"U8", dlpack::kUInt, 8, "B"},
                                             {"U16", dlpack::kUInt, 16, "H"},
                                             {"I8", dlpack::kInt, 8, "b"},
                                             {"F8_E4M3", dlpack::kFloat8E4M3Fn, 8, ""},
                                             {"F8_E5M2", dlpack::kFloat8E5M2, 8, ""},
                                             {"F8_E8M0", dlpack::kFloat8E8M0, 8, ""}}};

const Element* find_element(std::string_view name) {
  for (const Element& element : kElements) {
    if (element.name == name) return &element;
  }
  return nullptr;
}

// The name of `found`, or `wanted` where elements of that name are as wide: 16 bits told to be BF16.
std::string name_of(const Element* found, const std::string& wanted, const std::string& described) {
  if (wanted.empty()) {
    if (found == nullptr) throw py::value_error("elements of type " + described + " are not taken");
    return std::string(found->name);
  }
  const Element* const element = find_element(wanted);
  if (element == nullptr) throw py::value_error("dtype \"" + wanted + "\" is unknown");
  if (found == nullptr || found->bits != element->bits) {
    throw py::value_error("dtype " + wanted + " does not fit elements of type " + described);
  }
  return wanted;
}

// Row-major without gaps; strides of dimensions of one element mean nothing. `unit`: what the last stride must be.
template <typename Shape, typename Strides>
bool is_contiguous(int rank, const Shape* shape, const Strides* strides, Strides unit) {
  if (strides == nullptr) return true;
  for (int i = 0; i < rank; ++i) {
    if (shape[i] == 0) return true;
  }
  Strides expected = unit;
  for (int i = rank - 1; i >= 0; --i) {
    if (shape[i] != 1 && strides[i] != expected) return false;
    expected *= static_cast<Strides>(shape[i]);
  }
  return true;
}

[[noreturn]] void refuse_strides() { throw py::value_error("the tensor is not contiguous: give tensor.contiguous()"); }

std::string class_name(const py::object& object) { return py::str(py::type::of(object).attr("__name__")); }

}  // namespace

std::unique_ptr<Tensor> Tensor::of(const py::object& object, const std::string& dtype) {
  auto out = std::make_unique<Tensor>();
  if (PyObject_CheckBuffer(object.ptr()) != 0) {
    out->take_buffer(object, dtype);
  } else if (py::hasattr(object, "__dlpack__")) {
    out->take_dlpack(object, dtype);
  } else {
    throw py::type_error(class_name(object) + " is no tensor: it has neither __dlpack__ nor the buffer protocol");
  }
  return out;
}

void Tensor::take_buffer(const py::object& object, const std::string& dtype) {
  auto* view = new Py_buffer();
  if (PyObject_GetBuffer(object.ptr(), view, PyBUF_FORMAT | PyBUF_STRIDES) != 0) {
    delete view;
    throw py::error_already_set();
  }
  owner_ = std::shared_ptr<void>(view, [](void* held) {
    const py::gil_scoped_acquire gil;
    auto* buffer = static_cast<Py_buffer*>(held);
    PyBuffer_Release(buffer);
    delete buffer;
  });
  std::string_view format = view->format == nullptr ? "B" : view->format;
  const std::string described(format);
  // '<' and '=' are this machine's order, as '@' is.
  if (!format.empty() && (format[0] == '<' || format[0] == '=' || format[0] == '@')) format.remove_prefix(1);
  const Element* found = nullptr;
  for (const Element& element : kElements) {
    if (!element.formats.empty() && element.formats == format && view->itemsize * 8 == element.bits) found = &element;
  }
  dtype_ = name_of(found, dtype, "'" + described + "'");
  if (!is_contiguous(view->ndim, view->shape, view->strides, view->itemsize)) refuse_strides();
  for (int i = 0; i < view->ndim; ++i) shape_.push_back(static_cast<std::uint64_t>(view->shape[i]));
  data_ = view->buf;
  bytes_ = static_cast<std::size_t>(view->len);
}

void Tensor::take_dlpack(const py::object& object, const std::string& dtype) {
  const py::tuple device = object.attr("__dlpack_device__")();
  const int type = device[0].cast<int>();
  if (type != dlpack::kCpu && type != dlpack::kCudaHost) {
    throw py::value_error("the tensor is on another device: give tensor.cpu()");
  }
  const py::object capsule = object.attr("__dlpack__")();
  auto* managed = static_cast<dlpack::ManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
  if (managed == nullptr) throw py::error_already_set();
  PyCapsule_SetName(capsule.ptr(), "used_dltensor");
  owner_ = std::shared_ptr<void>(managed, [](void* held) {
    const py::gil_scoped_acquire gil;
    auto* tensor = static_cast<dlpack::ManagedTensor*>(held);
    if (tensor->deleter != nullptr) tensor->deleter(tensor);
  });
  const dlpack::Tensor& tensor = managed->tensor;
  const Element* found = nullptr;
  for (const Element& element : kElements) {
    if (element.code == tensor.dtype.code && element.bits == tensor.dtype.bits && tensor.dtype.lanes == 1) {
      found = &element;
    }
  }
  dtype_ = name_of(found, dtype, py::hasattr(object, "dtype") ? std::string(py::str(object.attr("dtype"))) : "unknown");
  if (!is_contiguous(tensor.ndim, tensor.shape, tensor.strides, std::int64_t{1})) refuse_strides();
  bytes_ = tensor.dtype.bits / 8U;
  for (int i = 0; i < tensor.ndim; ++i) {
    shape_.push_back(static_cast<std::uint64_t>(tensor.shape[i]));
    bytes_ *= static_cast<std::size_t>(tensor.shape[i]);
  }
  data_ = static_cast<const char*>(tensor.data) + tensor.byte_offset;
}

py::tuple Array::shape() const {
  py::tuple out(array_.rank);
  for (std::size_t i = 0; i < array_.rank; ++i) out[i] = array_.shape[i];
  return out;
}

py::buffer_info Array::buffer() const {
  const Element& element = *find_element(array_.dtype);
  const py::ssize_t item = element.bits / 8;
  const std::string format = element.bits == 8 ? "B" : element.bits == 16 && element.formats.empty() ? "H" : "f";
  std::vector<py::ssize_t> shape, strides(array_.rank);
  for (std::size_t i = 0; i < array_.rank; ++i) shape.push_back(static_cast<py::ssize_t>(array_.shape[i]));
  py::ssize_t step = item;
  for (std::size_t i = array_.rank; i-- > 0;) {
    strides[i] = step;
    step *= shape[i];
  }
  return {const_cast<void*>(array_.data),
          item,
          format,
          static_cast<py::ssize_t>(array_.rank),
          shape,
          strides,
          /*readonly=*/true};
}

py::capsule Array::dlpack() const {
  struct Holder {
    dlpack::ManagedTensor managed;
    std::shared_ptr<octavo_encoded> owner;
    std::array<std::int64_t, 4> shape;
  };
  const Element& element = *find_element(array_.dtype);
  const bool codes = element.bits == 8;  // frameworks differ in the FP8 they know; all have bytes
  auto holder = std::make_unique<Holder>();
  holder->owner = owner_;
  for (std::size_t i = 0; i < array_.rank; ++i) holder->shape[i] = static_cast<std::int64_t>(array_.shape[i]);
  holder->managed = {{const_cast<void*>(array_.data),
                      {dlpack::kCpu, 0},
                      static_cast<std::int32_t>(array_.rank),
                      {static_cast<std::uint8_t>(codes ? std::uint8_t{dlpack::kUInt} : element.code), element.bits, 1},
                      holder->shape.data(),
                      nullptr,
                      0},
                     holder.get(),
                     [](dlpack::ManagedTensor* self) { delete static_cast<Holder*>(self->context); }};
  // Whoever takes the tensor renames the capsule; one that nobody took frees it.
  PyObject* const capsule = PyCapsule_New(&holder->managed, "dltensor", [](PyObject* object) {
    if (PyCapsule_IsValid(object, "dltensor") == 0) return;
    auto* managed = static_cast<dlpack::ManagedTensor*>(PyCapsule_GetPointer(object, "dltensor"));
    managed->deleter(managed);
  });
  if (capsule == nullptr) throw py::error_already_set();
  static_cast<void>(holder.release());
  return py::reinterpret_steal<py::capsule>(capsule);
}

}  // namespace octavo::python
