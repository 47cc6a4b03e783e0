// What every function of the C ABI does around its work: arguments looked at, exceptions caught, the error kept for
// octavo_last_error(), texts handed out.
#pragma once

#include <exception>
#include <new>
#include <string>
#include <string_view>

#include "octavo/base/json.h"
#include "octavo/base/status.h"
#include "octavo/capi/octavo.h"

namespace octavo::capi {

// Keeps the sentence for this thread; its status. Options are named as in the command, "--top-p", and become "top_p".
octavo_code report(const Error& error) noexcept;
octavo_code report_exception(const char* what) noexcept;

// Runs `work`, which returns a Status.
template <typename Work>
octavo_code guarded(Work&& work) noexcept {
  try {
    const Status status = work();
    return status.ok() ? OCTAVO_OK : report(status.error());
  } catch (const std::bad_alloc&) {
    return report_exception("out of memory");
  } catch (const std::exception& exception) {
    return report_exception(exception.what());
  } catch (...) {
    return report_exception("unknown exception");
  }
}

// A usage error where the argument is NULL.
inline Status needed(const void* argument, const char* name) {
  if (argument == nullptr) return usage_error("{} is NULL", name);
  return {};
}

// A copy for the caller; throws std::bad_alloc.
void give(octavo_buffer* out, std::string_view bytes);
// Invalid UTF-8 becomes U+FFFD.
std::string json_text(const Json& value);

// NULL and "" are {}; what is no object is a usage error.
Result<Json> parse_options(const char* text, std::string_view origin);

// The error of work that a poll has ended.
Error stopped();

}  // namespace octavo::capi
