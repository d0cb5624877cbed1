// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <limits>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

// Checks of one column of a streamed bag: instance n, `rows` numbers.

/// Throws InvalidArgument for the first number that is infinite or NaN.
inline void require_finite_column(const Real* column, Index rows, Index n, const char* name) {
    if (all_finite(column, rows)) return;
    for (Index d = 0; d < rows; ++d) {
        require_that(std::isfinite(column[d]), text(name, " at feature ", d, ", instance ", n), column[d],
                     "finite numbers");
    }
}

/// Which features may draw on an instance: those whose reward is not -inf.
enum class Allowed : unsigned char { all, some, none };

/// Throws InvalidArgument for a reward that is NaN or inf, and for -inf where it does not go with the problem.
inline Allowed allowed_features(const Real* reward, Index rows, Index n, bool alpha0_is_infinite, bool is_hard) {
    constexpr Real infinity = std::numeric_limits<Real>::infinity();
    if (all_finite(reward, rows)) return Allowed::all;
    for (Index d = 0; d < rows; ++d) {
        require_that(reward[d] < infinity, text("reward at feature ", d, ", instance ", n), reward[d],
                     "finite numbers, or -inf for a pair that is forbidden");
    }
    require_that(!alpha0_is_infinite, "alpha0", infinity, "finite, as the reward has entries of -inf");
    if (highest(reward, rows) > -infinity) return Allowed::some;
    require_that(!is_hard, text("reward of instance ", n), "-inf at all features",
                 "a finite reward, as its marginal is hard");
    return Allowed::none;
}

}  // namespace otpool::detail
