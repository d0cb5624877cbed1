// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <array>
#include <charconv>
#include <cmath>
#include <concepts>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <string>

#include "otpool/core/compiler.hpp"

namespace otpool {

/// Base of every exception that otpool throws.
class Error : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// An argument outside its range, thrown before any work. The message is "ARGUMENT is FOUND; allowed: ALLOWED".
class InvalidArgument : public Error {
public:
    /// Takes the three parts of the message.
    InvalidArgument(const std::string& argument, const std::string& found, const std::string& allowed)
        : Error(argument + " is " + found + "; allowed: " + allowed) {}

    /// Takes the whole message of another such error.
    explicit InvalidArgument(const std::string& message) : Error(message) {}

    /// The same error with the place where it was found: "PLACE: MESSAGE".
    InvalidArgument in(const std::string& place) const { return InvalidArgument(place + ": " + what()); }
};

/// A valid problem that the named solver does not solve, thrown before any work.
class UnsupportedProblem : public Error {
public:
    /// Takes the parts of the message: "SOLVER does not solve a problem with FOUND; allowed: ALLOWED".
    UnsupportedProblem(const std::string& solver, const std::string& found, const std::string& allowed)
        : Error(solver + " does not solve a problem with " + found + "; allowed: " + allowed) {}
    /// Takes the whole message of another such error.
    explicit UnsupportedProblem(const std::string& message) : Error(message) {}
};

namespace detail {

/// A number with so many digits, and `inf` and `nan` by name.
inline std::string printed_real(double number, int digits) {
    if (std::isnan(number)) return "nan";  // some print -nan
    std::array<char, 40> text;
    const auto end = std::to_chars(text.data(), text.data() + text.size(), number, std::chars_format::general, digits);
    return {text.data(), end.ptr};
}

/// A value as text for an error message, numbers with all their digits. (Streams would take long to compile.)
template <class Value>
std::string printed(const Value& value) {
    if constexpr (std::invocable<Value>) {
        return value();
    } else if constexpr (std::floating_point<Value>) {
        return printed_real(static_cast<double>(value), std::numeric_limits<Value>::max_digits10);
    } else if constexpr (std::integral<Value>) {
        return std::to_string(value);
    } else if constexpr (std::convertible_to<Value, std::string>) {
        return value;
    } else {
        std::ostringstream text;
        text << value;
        return text.str();
    }
}

/// Prints the parts one after the other when called: printing costs more than checking a bag, so only errors print.
template <class... Parts>
auto text(Parts... parts) {
    return [parts...] { return (printed(parts) + ...); };
}

inline auto shape_text(auto rows, auto cols) { return text(rows, " x ", cols); }

/// Throws InvalidArgument unless `holds`. `argument`, `found` and `allowed` can be of any type that printed() takes.
inline void require_that(bool holds, const auto& argument, const auto& found, const auto& allowed) {
    if (!holds) throw InvalidArgument(printed(argument), printed(found), printed(allowed));
}

}  // namespace detail
}  // namespace otpool
