// Compiling and rendering; thrown errors become values here.
#include "octavo/text/jinja/template.h"

#include <new>
#include <utility>

#include "octavo/base/text.h"
#include "octavo/text/jinja/evaluator.h"
#include "octavo/text/jinja/parser.h"
#include "octavo/text/jinja/print.h"
#include "octavo/text/jinja/scope.h"
#include "octavo/text/utf8.h"

namespace octavo::text::jinja {
namespace {

constexpr std::size_t kLongestSource = std::size_t{4} << 20;  // the longest chat template known has 20 KB
constexpr std::size_t kLongestMessage = 1000;

Error positioned(std::string_view name, int line, std::string_view message) {
  return failure("{}:{}: {}", name, line, printable(message, kLongestMessage));
}

}  // namespace

Result<ProgramPtr> compile(std::string_view source, std::string_view name) {
  if (source.size() > kLongestSource) {
    return failure("{}: {} is too long for a chat template (at most {})", name, human_bytes(source.size()),
                   human_bytes(kLongestSource));
  }
  if (const auto offset = invalid_utf8_offset(source)) {
    return failure("{}: not UTF-8 at byte {}; a chat template must be", name, *offset);
  }
  try {
    auto program = std::make_shared<Program>(parse(source));
    resolve(*program);
    return ProgramPtr(std::move(program));
  } catch (const TemplateError& error) {
    return positioned(name, error.line, error.message);
  } catch (const std::bad_alloc&) {
    return failure("{}: out of memory", name);
  }
}

Result<std::string> render(const Program& program, std::string_view name, const Json& variables, const Limits& limits,
                           const std::optional<std::tm>& now) {
  if (!variables.is_object()) {
    return failure("{}: the variables of a template must be an object, not {}", name, json_type_name(variables));
  }
  Variables converted;
  for (const auto& [key, value] : variables.items()) {
    try {
      converted.emplace(key, from_json(value));
    } catch (const TemplateError& error) {
      return failure("{}: variable \"{}\": {}", name, printable(key), error.message);
    }
  }
  std::optional<Evaluator> evaluator;
  try {
    evaluator.emplace(program, std::move(converted), limits, now);
    return evaluator->run();
  } catch (const TemplateError& error) {
    return positioned(name, error.line > 0 ? error.line : evaluator->line(), error.message);
  } catch (const std::bad_alloc&) {
    return failure("{}: out of memory", name);
  }
}

}  // namespace octavo::text::jinja
