// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <concepts>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <string>

namespace otpool {

/// Base of every exception that otpool throws.
class Error : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// An argument outside its range. Thrown before any work; the message reads "<argument> is <found>; allowed:
/// <allowed>".
class InvalidArgument : public Error {
public:
    InvalidArgument(const std::string& argument, const std::string& found, const std::string& allowed)
        : Error(argument + " is " + found + "; allowed: " + allowed) {}

    /// The same error with the place it was found at: "<place>: <message>".
    InvalidArgument in(const std::string& place) const { return InvalidArgument(place + ": " + what()); }

private:
    explicit InvalidArgument(const std::string& message) : Error(message) {}
};

/// A well-formed problem that the named solver does not solve. Thrown before any work.
class UnsupportedProblem : public Error {
public:
    UnsupportedProblem(const std::string& solver, const std::string& found, const std::string& allowed)
        : Error(solver + " does not solve a problem with " + found + "; allowed: " + allowed) {}
};

namespace detail {

/// A value as an error message shows it: with all its digits, and `inf` and `nan` by name.
template <class Value>
std::string printed(const Value& value) {
    if constexpr (std::invocable<Value>) {
        return value();
    } else {
        std::ostringstream text;
        if constexpr (std::floating_point<Value>) {
            if (std::isnan(value)) return "nan";  // not -nan, which a stream makes of some
            text.precision(std::numeric_limits<Value>::max_digits10);
        }
        text << value;
        return text.str();
    }
}

/// The parts printed one after the other, when the message is needed: text costs more than the checks of a small bag.
template <class... Parts>
auto text(Parts... parts) {
    return [parts...] { return (printed(parts) + ...); };
}

inline auto shape_text(auto rows, auto cols) { return text(rows, " x ", cols); }

/// Throws InvalidArgument unless `holds`; `argument`, `found` and `allowed` are whatever can be printed.
inline void require(bool holds, const auto& argument, const auto& found, const auto& allowed) {
    if (!holds) throw InvalidArgument(printed(argument), printed(found), printed(allowed));
}

}  // namespace detail
}  // namespace otpool
