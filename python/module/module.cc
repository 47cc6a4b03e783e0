// octavo._octavo: the C ABI in Python, for the package around it (python/octavo).
#include <pybind11/pybind11.h>

#include "python/module/engine.h"
#include "python/module/status.h"
#include "python/module/tensor.h"

namespace octavo::python {
namespace {

py::tuple encode(const Tensor& values, const std::string& scheme, const std::string& options) {
  const auto& shape = values.shape();
  if (shape.size() != 2) {
    throw py::value_error("a tensor of " + std::to_string(shape.size()) + " dimensions is no weight: [out, in]");
  }
  octavo_encoded* made = nullptr;
  without_gil([&] {
    return octavo_encode(scheme.c_str(), options.c_str(), values.dtype().c_str(), shape[0], shape[1], values.data(),
                         values.bytes(), &made);
  });
  const std::shared_ptr<octavo_encoded> encoded(made, octavo_encoded_free);
  octavo_array codes = {}, scales = {};
  check(octavo_encoded_codes(made, &codes));
  check(octavo_encoded_scales(made, &scales));
  return py::make_tuple(Array(encoded, codes), Array(encoded, scales));
}

std::string quantize(const std::string& model, const std::string& output, const std::string& options,
                     const py::object& progress) {
  Poll poll(progress);
  Buffer summary;
  without_gil(poll, [&] {
    return octavo_quantize(model.c_str(), output.c_str(), options.c_str(), &Poll::call, &poll, summary.out());
  });
  return std::string(summary.bytes());
}

std::string verify(const std::string& folder, const std::string& options, const py::object& progress) {
  Poll poll(progress);
  Buffer report;
  without_gil(poll, [&] { return octavo_verify(folder.c_str(), options.c_str(), &Poll::call, &poll, report.out()); });
  return std::string(report.bytes());
}

void add_arrays(py::module_& m) {
  py::class_<Tensor>(m, "Tensor")
      .def(py::init(&Tensor::of), py::arg("object"), py::arg("dtype") = "")
      .def_property_readonly("data_ptr", [](const Tensor& t) { return reinterpret_cast<std::uintptr_t>(t.data()); })
      .def_property_readonly("nbytes", &Tensor::bytes)
      .def_property_readonly("dtype", &Tensor::dtype)
      .def_property_readonly("shape", [](const Tensor& t) { return py::tuple(py::cast(t.shape())); });
  py::class_<Array>(m, "Array", py::buffer_protocol())
      .def_buffer([](const Array& a) { return a.buffer(); })
      .def("__dlpack__", [](const Array& a, const py::args&, const py::kwargs&) { return a.dlpack(); })
      .def("__dlpack_device__", [](const Array&) { return py::make_tuple(1, 0); })
      .def_property_readonly("data_ptr", [](const Array& a) { return reinterpret_cast<std::uintptr_t>(a.get().data); })
      .def_property_readonly("nbytes", [](const Array& a) { return a.get().bytes; })
      .def_property_readonly("dtype", [](const Array& a) { return std::string(a.get().dtype); })
      .def_property_readonly("shape", &Array::shape)
      .def("__repr__", [](const Array& a) {
        return "octavo.Array(dtype=" + std::string(a.get().dtype) + ", shape=" + std::string(py::repr(a.shape())) + ")";
      });
}

void add_engine(py::module_& m) {
  py::class_<Engine>(m, "Engine")
      .def(py::init<const std::string&, const std::string&>(), py::arg("model"), py::arg("options"))
      .def("close", &Engine::close)
      .def_property_readonly("closed", &Engine::closed)
      .def("info", &Engine::info)
      .def("metrics", &Engine::metrics)
      .def("tokenize", &Engine::tokenize, py::arg("text"), py::arg("add_special_tokens"))
      .def("detokenize", &Engine::detokenize, py::arg("tokens"), py::arg("skip_special_tokens"))
      .def("render_chat", &Engine::render_chat, py::arg("chat"))
      .def("generate", &Engine::generate, py::arg("requests"), py::arg("progress"))
      .def("weight_version", &Engine::weight_version)
      .def("weight_checksums", &Engine::weight_checksums)
      .def("release_memory", &Engine::release_memory)
      .def("resume_memory", &Engine::resume_memory)
      .def("reset_prefix_cache", &Engine::reset_prefix_cache);
  py::class_<Update>(m, "Update")
      .def(py::init<const Engine&, bool>(), py::arg("engine"), py::arg("partial"))
      .def("tensor", &Update::tensor, py::arg("name"), py::arg("tensor"))
      .def("path", &Update::path, py::arg("path"))
      .def("commit", &Update::commit, py::arg("policy"), py::arg("label"))
      .def("abort", &Update::abort);
}

}  // namespace
}  // namespace octavo::python

PYBIND11_MODULE(_octavo, m) {
  using namespace octavo::python;  // NOLINT: pybind11's macro is a function
  m.doc() = "The C ABI of Octavo; use the package octavo.";
  m.attr("__version__") = octavo_version();
  py::register_exception<Failure>(m, "Error", PyExc_RuntimeError);
  add_arrays(m);
  add_engine(m);
  m.def("encode", &encode, py::arg("values"), py::arg("scheme"), py::arg("options"));
  m.def("quantize", &quantize, py::arg("model"), py::arg("output"), py::arg("options"), py::arg("progress"));
  m.def("verify", &verify, py::arg("folder"), py::arg("options"), py::arg("progress"));
}
