// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <concepts>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"

namespace otpool {

// Functions of one number. A pooling computes the reward by one of them from every entry of the bag, and applies
// another to every entry of the pooled vector.

/// x. Costs nothing: the bag is used as it is.
struct Identity {
    /// x
    template <std::floating_point Scalar>
    Scalar operator()(Scalar x) const {
        return x;
    }
};

/// -x
struct Negate {
    /// -x
    template <std::floating_point Scalar>
    Scalar operator()(Scalar x) const {
        return -x;
    }
};

/// sign log x, in double: float would round a logarithm to 4e-6 where x is large or small. Throws InvalidArgument for
/// x < 0. At x = 0 the log is a finite number whose exponential is 0.
struct Logarithm {
    int sign = 1;  ///< 1 or -1

    /// sign log x
    template <std::floating_point Scalar>
    Real operator()(Scalar x) const {
        detail::require_that(x >= 0, "entry of the bag", x, ">= 0, as its logarithm is taken");
        return sign * (x > 0 ? std::log(static_cast<Real>(x)) : -1e30);
    }
};

/// exp(sign x), the inverse of Logarithm.
struct Exponential {
    int sign = 1;  ///< 1 or -1

    /// exp(sign x)
    template <std::floating_point Scalar>
    Scalar operator()(Scalar x) const {
        return std::exp(static_cast<Scalar>(sign) * x);
    }
};

namespace detail {

/// functor(x_dn) of every entry, as a new D x N matrix; 0 for instances that `prior` (N entries, or empty) excludes. If
/// the functor refuses an entry, the error says where it is.
template <BagScalar Number, BagScalar Scalar, class Functor>
Matrix<Number> transformed(const MatrixView<Scalar>& bag, const Vector<Number>& prior, const Functor& functor) {
    Matrix<Number> result(bag.rows(), bag.cols());
    for (Index n = 0; n < bag.cols(); ++n) {
        if (n < prior.size() && prior[n] == 0) {
            result.col(n).setZero();
            continue;
        }
        for (Index d = 0; d < bag.rows(); ++d) {
            try {
                result(d, n) = functor(bag(d, n));
            } catch (const InvalidArgument& error) {
                throw error.in("feature " + printed(d) + ", instance " + printed(n));
            }
        }
    }
    return result;
}

}  // namespace detail
}  // namespace otpool
