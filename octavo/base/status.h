// Errors as values. A user-caused failure is an Error with one sentence; rooms add context on the way up.
// Exceptions do not cross a room.
#pragma once

#include <fmt/format.h>

#include <cassert>
#include <string>
#include <utility>
#include <variant>

namespace octavo {

// Usage: the command was wrong (exit code 2). Failure: the command was right, the work failed (exit code 1).
// Interrupted: somebody asked it to stop (exit code 128 + signal).
enum class ErrorKind { kUsage, kFailure, kInterrupted };

struct Error {
  ErrorKind kind = ErrorKind::kFailure;
  std::string message;

  // "context: message"
  Error context(std::string_view where) && {
    message = fmt::format("{}: {}", where, message);
    return std::move(*this);
  }
};

template <typename... Args>
Error failure(fmt::format_string<Args...> format, Args&&... args) {
  return Error{ErrorKind::kFailure, fmt::format(format, std::forward<Args>(args)...)};
}

template <typename... Args>
Error usage_error(fmt::format_string<Args...> format, Args&&... args) {
  return Error{ErrorKind::kUsage, fmt::format(format, std::forward<Args>(args)...)};
}

// A value or an Error. Access the value only after ok().
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit on purpose
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit on purpose

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & { return assert(ok()), std::get<0>(state_); }
  const T& value() const& { return assert(ok()), std::get<0>(state_); }
  T&& value() && { return assert(ok()), std::get<0>(std::move(state_)); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }

  const Error& error() const& { return assert(!ok()), std::get<1>(state_); }
  Error&& error() && { return assert(!ok()), std::get<1>(std::move(state_)); }

  // The same result with "where: " before the message of an error.
  Result context(std::string_view where) && {
    if (!ok()) return std::move(*this).error().context(where);
    return std::move(*this);
  }

 private:
  std::variant<T, Error> state_;
};

// Success or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() : state_(std::in_place_index<0>) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit on purpose

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  const Error& error() const& { return assert(!ok()), std::get<1>(state_); }
  Error&& error() && { return assert(!ok()), std::get<1>(std::move(state_)); }

  Result context(std::string_view where) && {
    if (!ok()) return std::move(*this).error().context(where);
    return std::move(*this);
  }

 private:
  std::variant<std::monostate, Error> state_;
};

using Status = Result<void>;

#define OCTAVO_CONCAT_(a, b) a##b
#define OCTAVO_CONCAT(a, b) OCTAVO_CONCAT_(a, b)

// OCTAVO_TRY(status_expression): returns its error from the enclosing function.
#define OCTAVO_TRY(expression)                                        \
  do {                                                                \
    auto octavo_status = (expression);                                \
    if (!octavo_status.ok()) return std::move(octavo_status).error(); \
  } while (false)

// OCTAVO_ASSIGN(auto x, result_expression): x is the value, or its error is returned.
#define OCTAVO_ASSIGN(declaration, expression) \
  OCTAVO_ASSIGN_(OCTAVO_CONCAT(octavo_result_, __LINE__), declaration, expression)
#define OCTAVO_ASSIGN_(result, declaration, expression) \
  auto result = (expression);                           \
  if (!result.ok()) return std::move(result).error();   \
  declaration = std::move(result).value()

}  // namespace octavo
