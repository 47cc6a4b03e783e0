// Calls of the C ABI, with the GIL released wherever it works or waits.
#include "python/module/engine.h"

#include <deque>
#include <optional>

#include "python/module/status.h"

namespace octavo::python {
namespace {

// Where an object's end may wait for threads that want the GIL, it is let go first; and taken nowhere else.
template <typename T>
std::shared_ptr<T> owned(T* object, void (*free)(T*)) {
  return std::shared_ptr<T>(object, [free](T* held) {
    if (PyGILState_Check() == 0) return free(held);
    const py::gil_scoped_release released;
    free(held);
  });
}

std::string text_of(const std::shared_ptr<octavo_engine>& engine,
                    octavo_code (*function)(const octavo_engine*, octavo_buffer*)) {
  Buffer out;
  without_gil([&] { return function(engine.get(), out.out()); });
  return std::string(out.bytes());
}

py::str to_text(const char* data, std::size_t size) {
  PyObject* const text = PyUnicode_DecodeUTF8(data, static_cast<Py_ssize_t>(size), "replace");
  if (text == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(text);
}

py::list to_list(const std::int32_t* tokens, std::size_t count) {
  py::list out(count);
  for (std::size_t i = 0; i < count; ++i) out[i] = py::int_(tokens[i]);
  return out;
}

py::object logprobs_list(const octavo_logprobs& logprobs) {
  if (logprobs.entries == nullptr) return py::none();
  py::list out(logprobs.count);
  for (std::size_t i = 0; i < logprobs.count; ++i) {
    const std::size_t begin = logprobs.starts[i], end = logprobs.starts[i + 1];
    py::list entries(end - begin);
    for (std::size_t j = begin; j < end; ++j) {
      const octavo_logprob& e = logprobs.entries[j];
      entries[j - begin] = py::make_tuple(e.token, e.rank, static_cast<double>(e.logprob));
    }
    out[i] = std::move(entries);
  }
  return out;
}

py::tuple output_tuple(const octavo_output& o) {
  py::object stop = py::none();
  if (o.has_stop_token != 0) stop = py::int_(o.stop_token);
  if (o.stop_text != nullptr) stop = py::str(o.stop_text);
  py::list versions(o.version_count);
  for (std::size_t i = 0; i < o.version_count; ++i) {
    const octavo_version_span& v = o.versions[i];
    versions[i] = py::make_tuple(v.number, v.label, v.start, v.end);
  }
  return py::make_tuple(to_text(o.text, o.text_size), to_list(o.tokens, o.token_count), logprobs_list(o.logprobs),
                        o.cumulative_logprob, o.finish_reason, stop, o.error, versions);
}

// Requests of Python, whose texts and tokens lie here while they run.
class Requests {
 public:
  explicit Requests(const py::list& list) {
    for (const py::handle item : list) {
      const auto fields = py::reinterpret_borrow<py::tuple>(item);
      octavo_request request = {};
      request.sampling = texts_.emplace_back(fields[2].cast<std::string>()).c_str();
      if (!fields[0].is_none()) {
        const std::string& prompt = texts_.emplace_back(fields[0].cast<std::string>());
        request.prompt = prompt.c_str();
        request.prompt_size = prompt.size();
      } else {
        const auto& tokens = tokens_.emplace_back(fields[1].cast<std::vector<std::int32_t>>());
        request.tokens = tokens.data();
        request.token_count = tokens.size();
      }
      requests_.push_back(request);
    }
  }
  const octavo_request* data() const { return requests_.data(); }
  std::size_t size() const { return requests_.size(); }

 private:
  std::deque<std::string> texts_;
  std::deque<std::vector<std::int32_t>> tokens_;
  std::vector<octavo_request> requests_;
};

}  // namespace

Engine::Engine(const std::string& model, const std::string& options) {
  octavo_engine* opened = nullptr;
  without_gil([&] { return octavo_engine_open(model.c_str(), options.c_str(), &opened); });
  engine_ = owned(opened, octavo_engine_close);
}

std::shared_ptr<octavo_engine> Engine::handle() const {
  if (engine_ == nullptr) throw Failure("the model is closed");
  return engine_;
}

void Engine::close() { engine_.reset(); }

std::string Engine::info() const { return text_of(handle(), octavo_engine_info); }
std::string Engine::metrics() const { return text_of(handle(), octavo_engine_metrics); }

py::list Engine::tokenize(std::string_view text, bool add_special_tokens) const {
  const auto engine = handle();
  Buffer out;
  without_gil(
      [&] { return octavo_tokenize(engine.get(), text.data(), text.size(), add_special_tokens ? 1 : 0, out.out()); });
  return to_list(reinterpret_cast<const std::int32_t*>(out.bytes().data()), out.bytes().size() / sizeof(std::int32_t));
}

std::string Engine::detokenize(const std::vector<std::int32_t>& tokens, bool skip_special_tokens) const {
  const auto engine = handle();
  Buffer out;
  without_gil([&] {
    return octavo_detokenize(engine.get(), tokens.data(), tokens.size(), skip_special_tokens ? 1 : 0, out.out());
  });
  return std::string(out.bytes());
}

std::string Engine::render_chat(const std::string& chat) const {
  const auto engine = handle();
  Buffer out;
  without_gil([&] { return octavo_render_chat(engine.get(), chat.c_str(), out.out()); });
  return std::string(out.bytes());
}

py::list Engine::generate(const py::list& list, const py::object& progress) const {
  const auto engine = handle();
  const Requests requests(list);
  Poll poll(progress);
  octavo_results* made = nullptr;
  without_gil(
      poll, [&] { return octavo_generate(engine.get(), requests.data(), requests.size(), &Poll::call, &poll, &made); });
  const std::shared_ptr<octavo_results> results(made, octavo_results_free);
  const std::size_t count = octavo_results_count(made);
  py::list out(count);
  for (std::size_t i = 0; i < count; ++i) {
    octavo_prompt_result prompt = {};
    check(octavo_results_prompt(made, i, &prompt));
    py::list outputs(octavo_results_outputs(made, i));
    for (std::size_t j = 0; j < outputs.size(); ++j) {
      octavo_output output = {};
      check(octavo_results_output(made, i, j, &output));
      outputs[j] = output_tuple(output);
    }
    out[i] = py::make_tuple(to_list(prompt.tokens, prompt.token_count), logprobs_list(prompt.logprobs),
                            prompt.cached_tokens, outputs);
  }
  return out;
}

py::tuple Engine::weight_version() const {
  std::uint64_t number = 0;
  Buffer label;
  check(octavo_weight_version(handle().get(), &number, label.out()));
  return py::make_tuple(number, std::string(label.bytes()));
}

std::string Engine::weight_checksums() const {
  const auto engine = handle();
  Buffer out;
  without_gil([&] { return octavo_weight_checksums(engine.get(), out.out()); });
  return std::string(out.bytes());
}

void Engine::release_memory() const {
  const auto engine = handle();
  without_gil([&] { return octavo_release_memory(engine.get()); });
}

void Engine::resume_memory() const {
  const auto engine = handle();
  without_gil([&] { return octavo_resume_memory(engine.get()); });
}

void Engine::reset_prefix_cache() const {
  const auto engine = handle();
  without_gil([&] { return octavo_reset_prefix_cache(engine.get()); });
}

Update::Update(const Engine& engine, bool partial) : engine_(engine.handle()) {
  octavo_update* begun = nullptr;
  without_gil([&] { return octavo_update_begin(engine_.get(), partial ? 1 : 0, &begun); });
  update_ = owned(begun, octavo_update_free);
}

void Update::tensor(const std::string& name, const Tensor& tensor) {
  if (update_ == nullptr) throw Failure("the weight update has ended");
  without_gil([&] {
    return octavo_update_tensor(update_.get(), name.c_str(), tensor.dtype().c_str(), tensor.shape().data(),
                                tensor.shape().size(), tensor.data(), tensor.bytes());
  });
}

void Update::path(const std::string& path) {
  if (update_ == nullptr) throw Failure("the weight update has ended");
  without_gil([&] { return octavo_update_path(update_.get(), path.c_str()); });
}

std::string Update::commit(const std::string& policy, const py::object& label) {
  if (update_ == nullptr) throw Failure("the weight update has ended");
  std::optional<std::string> name;
  if (!label.is_none()) name = label.cast<std::string>();
  Buffer summary;
  without_gil([&] {
    return octavo_update_commit(update_.get(), policy.c_str(), name ? name->c_str() : nullptr, summary.out());
  });
  update_.reset();
  return std::string(summary.bytes());
}

void Update::abort() { update_.reset(); }

}  // namespace octavo::python
