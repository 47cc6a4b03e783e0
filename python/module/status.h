// Statuses of the C ABI as Python exceptions, and long calls without the GIL that Ctrl-C ends.
#pragma once

#include <pybind11/pybind11.h>

#include <exception>
#include <string>
#include <utility>

#include "octavo/capi/octavo.h"

namespace octavo::python {

namespace py = pybind11;

// octavo.Error and ValueError; the module makes the first.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void check(octavo_code code) {
  if (code == OCTAVO_OK) return;
  if (code == OCTAVO_USAGE) throw py::value_error(octavo_last_error());
  throw Failure(octavo_last_error());
}

// A buffer of the library, freed in any case.
class Buffer {
 public:
  Buffer() = default;
  ~Buffer() { octavo_buffer_free(&buffer_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  octavo_buffer* out() { return &buffer_; }
  std::string_view bytes() const { return {static_cast<const char*>(buffer_.data), buffer_.size}; }

 private:
  octavo_buffer buffer_ = {nullptr, 0};
};

// A poll that lets Python's signal handlers run, and calls `progress(done, total)` where there is one. What they throw
// ends the work and is thrown again by rethrow().
class Poll {
 public:
  explicit Poll(py::object progress) : progress_(std::move(progress)) {}
  static int call(void* self, std::uint64_t done, std::uint64_t total) {
    return static_cast<Poll*>(self)->run(done, total);
  }
  void rethrow() const {
    if (thrown_) std::rethrow_exception(thrown_);
  }

 private:
  int run(std::uint64_t done, std::uint64_t total) {
    const py::gil_scoped_acquire gil;
    if (thrown_) return 1;
    try {
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
      if (!progress_.is_none()) progress_(done, total);
    } catch (...) {
      thrown_ = std::current_exception();
    }
    return thrown_ ? 1 : 0;
  }
  py::object progress_;
  std::exception_ptr thrown_;
};

// Calls the library without the GIL; the status is of this thread, as its error is.
template <typename Call>
void without_gil(Call&& call) {
  octavo_code code = OCTAVO_OK;
  {
    const py::gil_scoped_release released;
    code = call();
  }
  check(code);
}
template <typename Call>
void without_gil(Poll& poll, Call&& call) {
  octavo_code code = OCTAVO_OK;
  {
    const py::gil_scoped_release released;
    code = call();
  }
  poll.rethrow();
  check(code);
}

}  // namespace octavo::python
