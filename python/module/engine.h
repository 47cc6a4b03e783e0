// octavo_engine and octavo_update as Python objects; what they return is plain: text, lists, tuples. python/octavo
// makes vLLM's shapes of it.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <vector>

#include "octavo/capi/octavo.h"
#include "python/module/tensor.h"

namespace octavo::python {

class Engine {
 public:
  Engine(const std::string& model, const std::string& options);

  void close();  // when the last call that runs has ended
  bool closed() const { return engine_ == nullptr; }
  std::string info() const;
  std::string metrics() const;
  py::list tokenize(std::string_view text, bool add_special_tokens) const;
  std::string detokenize(const std::vector<std::int32_t>& tokens, bool skip_special_tokens) const;
  std::string render_chat(const std::string& chat) const;
  // [(prompt or None, tokens or None, sampling JSON)] to [(prompt tokens, prompt logprobs or None, cached, [output])],
  // output: (text, tokens, logprobs or None, cumulative, finish, stop, error, versions); logprobs: a list a token of
  // (token, rank, logprob), the token's own first.
  py::list generate(const py::list& requests, const py::object& progress) const;
  py::tuple weight_version() const;
  std::string weight_checksums() const;
  void release_memory() const;
  void resume_memory() const;
  void reset_prefix_cache() const;

  std::shared_ptr<octavo_engine> handle() const;  // throws where it is closed

 private:
  std::shared_ptr<octavo_engine> engine_;
};

class Update {
 public:
  Update(const Engine& engine, bool partial);
  void tensor(const std::string& name, const Tensor& tensor);
  void path(const std::string& path);
  std::string commit(const std::string& policy, const py::object& label);
  void abort();

 private:
  std::shared_ptr<octavo_engine> engine_;  // outlives the update
  std::shared_ptr<octavo_update> update_;
};

}  // namespace octavo::python
