// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

// Refuses, in one sentence each, what the library cannot be compiled with. Every other header includes this one.
// The includes of no file stop the compiler, which would go on and print pages of errors.

#if !(__cplusplus >= 202002L || (defined(_MSVC_LANG) && _MSVC_LANG >= 202002L))
#error "otpool needs C++20: compile with -std=c++20 or later (MSVC: /std:c++20)"
#include "otpool: stopped by the error above"
#endif

#if defined(__GNUC__) && !defined(__cpp_exceptions)
#error "otpool throws exceptions: compile the files that include it without -fno-exceptions"
#include "otpool: stopped by the error above"
#endif

#if defined(Status) || defined(Success)
#error "Status or Success is a macro, as in the headers of X11: include otpool before them"
#include "otpool: stopped by the error above"
#endif

// Under these flags (x + c) - c becomes x, of which exponentials are made, and no number counts as infinite or NaN.
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__ > 0) || \
    defined(__ASSOCIATIVE_MATH__) || defined(_M_FP_FAST)
#error "otpool is wrong under fast math (-ffast-math, -Ofast, /fp:fast, ...): compile the files that include it without"
#include "otpool: stopped by the error above"
#endif

#if defined(__GNUC__) && defined(__has_attribute)
#if __has_attribute(error)
namespace otpool::detail {

[[gnu::error("otpool is wrong under fast math: compile the files that include it without")]] void is_fast_math();

/// Clang and gcc 11 have no macro for some of these flags (-fassociative-math, -funsafe-math-optimizations,
/// -fno-honor-nans). But only with them does the optimiser, which is what they change, find constants here. (Clang 14
/// does not with -fno-honor-infinities alone.)
[[gnu::used]] inline void refuse_fast_math(double x) {
    if (__builtin_constant_p((x + 1) - x) || __builtin_constant_p(x - x) ||
        __builtin_constant_p(x == __builtin_inf())) {
        is_fast_math();
    }
}

}  // namespace otpool::detail
#endif
#endif
