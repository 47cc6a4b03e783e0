// The doors of jinja/: a template compiled once and rendered as often as wanted. No exception leaves them.
#pragma once

#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "octavo/base/json.h"
#include "octavo/base/status.h"
#include "octavo/text/jinja/budget.h"

namespace octavo::text::jinja {

struct Program;

// Immutable; any number of threads may render it at once.
using ProgramPtr = std::shared_ptr<const Program>;

// Errors are "NAME:LINE: sentence".
Result<ProgramPtr> compile(std::string_view source, std::string_view name);

// Every key of `variables`, an object, is a variable. `now` is what strftime_now tells, the local time where absent.
Result<std::string> render(const Program& program, std::string_view name, const Json& variables, const Limits& limits,
                           const std::optional<std::tm>& now);

}  // namespace octavo::text::jinja
