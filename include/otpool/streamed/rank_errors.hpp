// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cstddef>
#include <exception>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/streamed/ranks.hpp"

namespace otpool {
namespace detail {

/// What kind of exception a rank tells the others of.
enum class Failure : unsigned char { none, invalid_argument, unsupported_problem, error, out_of_memory, other };

/// Kind and message of an exception; null is none.
struct FailureText {
    Failure kind = Failure::none;
    std::string text = {};

    explicit FailureText(const std::exception_ptr& exception) {
        if (!exception) return;
        try {
            std::rethrow_exception(exception);
        } catch (const InvalidArgument& error) {
            set(Failure::invalid_argument, error);
        } catch (const UnsupportedProblem& error) {
            set(Failure::unsupported_problem, error);
        } catch (const Error& error) {
            set(Failure::error, error);
        } catch (const std::bad_alloc&) {
            kind = Failure::out_of_memory;
        } catch (const std::exception& error) {
            set(Failure::other, error);
        } catch (...) {
            kind = Failure::other;
            text = "an unknown exception";
        }
    }

private:
    void set(Failure kind_, const std::exception& error) {
        kind = kind_;
        text = error.what();
    }
};

[[noreturn]] inline void throw_failure(Failure kind, const std::string& text) {
    switch (kind) {
        case Failure::invalid_argument: throw InvalidArgument(text);
        case Failure::unsupported_problem: throw UnsupportedProblem(text);
        case Failure::error: throw Error(text);
        case Failure::out_of_memory: throw std::bad_alloc();
        default: throw std::runtime_error(text);
    }
}

/// Throws the exception of the lowest rank that has one, on all ranks. `kinds`: of every rank, a Failure each. All ranks call
/// it, `own` is the rank's own exception. Where it was thrown it keeps its type.
[[noreturn]] inline void throw_first(const AnyRanks& ranks, std::span<const Failure> kinds,
                                     const std::exception_ptr& own) {
    Index first = 0;
    while (kinds[static_cast<std::size_t>(first)] == Failure::none) ++first;
    const bool is_own = first == ranks.rank();
    const FailureText failure(is_own ? own : std::exception_ptr());
    const auto size = static_cast<std::size_t>(ranks.size());
    const std::vector<Index> ones(size, 1);
    std::vector<double> lengths(size);
    const double length = static_cast<double>(failure.text.size());
    ranks.gather({&length, 1}, ones, lengths);

    std::vector<Index> counts(size, 0);
    counts[static_cast<std::size_t>(first)] = static_cast<Index>(lengths[static_cast<std::size_t>(first)]);
    const std::vector<double> letters(failure.text.begin(), failure.text.end());
    std::vector<double> all(static_cast<std::size_t>(counts[static_cast<std::size_t>(first)]));
    ranks.gather(letters, counts, all);
    if (is_own) std::rethrow_exception(own);
    std::string text;
    for (const double letter : all) text += static_cast<char>(letter);
    throw_failure(kinds[static_cast<std::size_t>(first)], text);
}

}  // namespace detail

/// Runs `action` on this rank. All ranks call it, each with an action of its own, and wait for each other. If actions throw,
/// all ranks throw what the lowest rank of them threw: there the exception itself, elsewhere one with its message, an
/// InvalidArgument, UnsupportedProblem, Error, std::bad_alloc or std::runtime_error.
///
/// An action must not wait for other ranks.
void on_every_rank(const AnyRanks& ranks, const auto& action) {
    std::exception_ptr own;
    try {
        action();
    } catch (...) {
        own = std::current_exception();
    }
    const auto size = static_cast<std::size_t>(ranks.size());
    const std::vector<Index> ones(size, 1);
    std::vector<double> all(size);
    const auto kind = static_cast<double>(detail::FailureText(own).kind);
    ranks.gather({&kind, 1}, ones, all);
    std::vector<detail::Failure> kinds;
    bool failed = false;
    for (const double number : all) {
        kinds.push_back(static_cast<detail::Failure>(number));
        failed = failed || number != 0;
    }
    if (failed) detail::throw_first(ranks, kinds, own);
}

}  // namespace otpool
