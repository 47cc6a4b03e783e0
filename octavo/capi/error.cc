// Errors, texts and JSON on their way out of and into the library.
#include "octavo/capi/error.h"

#include <cctype>
#include <cstdlib>
#include <cstring>

namespace octavo::capi {
namespace {

// The last error is of a thread, so that it need not be carried beside every result, as errno is.
std::string& last_error() {
  thread_local std::string message;
  return message;
}

// "--top-p 2: must be ..." speaks of the option top_p here. Paths may hold "--", too, but not at the start of a word.
std::string with_api_names(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const bool begins = i == 0 || text[i - 1] == ' ' || text[i - 1] == '(';
    const bool option = begins && text.substr(i).starts_with("--") && i + 2 < text.size() &&
                        std::islower(static_cast<unsigned char>(text[i + 2])) != 0;
    if (!option) {
      out += text[i++];
      continue;
    }
    for (i += 2; i < text.size(); ++i) {
      const auto c = static_cast<unsigned char>(text[i]);
      if (c == '-') {
        out += '_';
      } else if (std::islower(c) != 0 || std::isdigit(c) != 0) {
        out += text[i];
      } else {
        break;
      }
    }
  }
  return out;
}

}  // namespace

octavo_code report(const Error& error) noexcept {
  try {
    last_error() = with_api_names(error.message);
  } catch (...) {
    last_error().clear();
  }
  switch (error.kind) {
    case ErrorKind::kUsage: return OCTAVO_USAGE;
    case ErrorKind::kInterrupted: return OCTAVO_STOPPED;
    default: return OCTAVO_FAILURE;
  }
}

octavo_code report_exception(const char* what) noexcept {
  try {
    last_error() = what;
  } catch (...) {
    last_error().clear();
  }
  return OCTAVO_FAILURE;
}

void give(octavo_buffer* out, std::string_view bytes) {
  auto* data = static_cast<char*>(std::malloc(bytes.size() + 1));
  if (data == nullptr) throw std::bad_alloc();
  if (!bytes.empty()) std::memcpy(data, bytes.data(), bytes.size());
  data[bytes.size()] = 0;
  *out = {data, bytes.size()};
}

std::string json_text(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

Result<Json> parse_options(const char* text, std::string_view origin) {
  if (text == nullptr || *text == 0) return Json::object();
  Result<Json> out = parse_json(text, origin);
  if (!out.ok()) return Error{ErrorKind::kUsage, out.error().message};
  if (!out->is_object()) return usage_error("{}: must be a JSON object, and is {}", origin, json_type_name(*out));
  return out;
}

Error stopped() { return {ErrorKind::kInterrupted, "the work was stopped"}; }

}  // namespace octavo::capi

extern "C" {

const char* octavo_last_error(void) { return octavo::capi::last_error().c_str(); }

void octavo_buffer_free(octavo_buffer* buffer) {
  if (buffer == nullptr) return;
  std::free(buffer->data);
  *buffer = {nullptr, 0};
}

}  // extern "C"
