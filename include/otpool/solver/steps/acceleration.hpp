// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>

#include "otpool/core/buffer.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool {

/// Anderson acceleration of a fixed-point iteration x <- T(x): with the residuals r_k = T(x_k) - x_k of the last
/// `memory` steps,
///
///     x_{k+1} = T(x_k) - sum_j c_j (T(x_{j+1}) - T(x_j)),   c = argmin |r_k - sum_j c_j (r_{j+1} - r_j)|_2
///
/// Near the fixed point, where T is linear, this is GMRES, which needs about the square root of the iterations: Walker
/// & Ni, "Anderson Acceleration for Fixed-Point Iterations", SIAM J. Numer. Anal. 49 (2011). Far from it, extrapolation
/// may go astray; steps that do not pay are taken back (detail::AndersonSteps).
struct Anderson {
    /// How many steps are remembered, 0 to 64; 0 turns acceleration off.
    int memory = 8;
};

namespace detail {

inline void validate(const Anderson& acceleration) {
    const int memory = acceleration.memory;
    require_that(memory >= 0 && memory <= 64, "memory of the acceleration", memory, "0 to 64");
}

/// The state of Anderson's acceleration. If T moves no two points apart, like Sinkhorn's, the largest entry of r cannot
/// grow. So an extrapolation is taken back if that entry is then above 1.2 times the least so far, or has not fallen
/// for very many steps. Potentials first move at a speed that does not tell where they stop. So an extrapolation is at
/// most a radius times as long as r. The radius triples after each extrapolation that lowers r, and halves after each
/// that is taken back, as in trust regions: Nocedal & Wright, "Numerical Optimization" (2006), algorithm 4.1.
template <std::same_as<Real> Number = Real>
class AndersonSteps {
public:
    /// Restarts, with vectors of `size` entries. With `memory` 0 it costs nothing and is not active(). At most `size`
    /// changes are remembered, as more would be dependent.
    void set(int memory, Index size) {
        memory_ = static_cast<int>(std::min<Index>(memory, size));
        forget();
        least_ = (std::numeric_limits<Number>::max)();
        extrapolated_ = has_point_ = false;
        stale_ = 0;
        radius_ = first_radius;
        if (!active()) return;
        size_ = size;
        lanes_ = padded(size);
        for (Buffer<Number>* vector : {&point_, &image_, &residual_, &step_}) vector->assign(lanes_, 0);
        residual_changes_.assign(lanes_ * memory_, 0);  // the padding stays zero
        image_changes_.assign(lanes_ * memory_, 0);
        for (Buffer<Number>* matrix : {&products_, &factor_}) matrix->assign(Index{memory_} * memory_, 0);
        coefficients_.assign(memory_, 0);
    }

    bool active() const { return memory_ > 0; }

    /// What to add to image = T(x), where x is the last call's image plus what it returned. `largest`: the largest
    /// |T(x) - x|, or in proportion to it. Cost: 6 memory flops per entry, and memory^3 / 3.
    const Number* step(const Number* image, Number largest) {
        Number* const step = step_.data();
        const bool gained = largest < least_;
        const bool lost = extrapolated_ && !(largest <= growth * least_ && stale_ <= patience * memory_);
        if (lost) {
            for (Index i = 0; i < size_; ++i) step[i] = image_[i] - image[i];
            forget();
            radius_ = (std::max)(radius_ / 2, Number(1));
            extrapolated_ = false;
        } else {
            if (gained && extrapolated_) radius_ = (std::min)(3 * radius_, largest_radius);
            if (has_point_) remember(image);
            extrapolated_ = extrapolate();
            if (!extrapolated_) std::fill(step_.begin(), step_.end(), Number(0));
        }
        stale_ = gained || lost ? 0 : stale_ + 1;
        Number* const point = point_.data();
        for (Index i = 0; i < size_; ++i) point[i] = image[i] + step[i];
        least_ = (std::min)(least_, largest);
        has_point_ = true;
        return step;
    }

private:
    static constexpr Number growth = 1.2;
    static constexpr int patience = 16;
    static constexpr Number first_radius = 4;
    static constexpr Number largest_radius = 1e4;
    /// Added to the least-squares matrix, relative to its diagonal: c has half the digits anyway.
    static constexpr Number ridge = 1e-9;

    void forget() {
        count_ = 0;
        next_ = 0;
        has_image_ = false;
    }

    void remember(const Number* image) {
        Number* const residual_change = residual_changes_.data() + next_ * lanes_;
        Number* const image_change = image_changes_.data() + next_ * lanes_;
        const Number* const point = point_.data();
        Number* const last_residual = residual_.data();
        Number* const last_image = image_.data();
        for (Index i = 0; i < size_; ++i) residual_change[i] = image[i] - point[i] - last_residual[i];
        for (Index i = 0; i < size_; ++i) image_change[i] = image[i] - last_image[i];
        for (Index i = 0; i < size_; ++i) last_residual[i] = image[i] - point[i];
        std::copy_n(image, size_, last_image);
        if (has_image_) {
            count_ = (std::max)(count_, next_ + 1);
            multiply_residual_changes(residual_change);
            for (Index j = 0; j < count_; ++j) product(next_, j) = product(j, next_) = coefficients_[j];
            next_ = (next_ + 1) % memory_;
        }
        has_image_ = true;
    }

    /// coefficients_ <- <changes of the residual, vector>
    void multiply_residual_changes(const Number* vector) {
        multiply_transposed<Number>(residual_changes_.data(), lanes_, count_, vector, coefficients_.data());
    }

    /// step_ <- -sum_j c_j (T(x_{j+1}) - T(x_j)), shortened to the radius. False if there is none.
    bool extrapolate() {
        if (count_ == 0) return false;
        multiply_residual_changes(residual_.data());
        if (!solve_least_squares()) return false;
        multiply<Number>(image_changes_.data(), lanes_, count_, coefficients_.data(), step_.data());
        const Number length = largest_magnitude(step_.data(), lanes_);
        if (!all_finite(step_.data(), lanes_) || length == 0) return false;
        const Number longest = radius_ * largest_magnitude(residual_.data(), size_);
        const Number factor = -(std::min)(longest / length, Number(1));
        for (Number& entry : step_) entry *= factor;
        return true;
    }

    Number& product(Index i, Index j) { return products_[i * memory_ + j]; }
    Number& factor(Index i, Index j) { return factor_[i * memory_ + j]; }

    /// coefficients_ <- products^-1 coefficients_, by a Cholesky factor whose diagonal is stored inverted.
    bool solve_least_squares() {
        Buffer<Number>& c = coefficients_;
        for (Index j = 0; j < count_; ++j) {
            for (Index i = j; i < count_; ++i) {
                Number sum = product(i, j) * (i == j ? 1 + ridge : 1);
                for (Index k = 0; k < j; ++k) sum -= factor(i, k) * factor(j, k);
                if (i == j && !(sum > 0)) return false;
                factor(i, j) = i == j ? 1 / std::sqrt(sum) : sum * factor(j, j);
            }
            for (Index k = 0; k < j; ++k) c[j] -= factor(j, k) * c[k];
            c[j] *= factor(j, j);
        }
        for (Index j = count_; j-- > 0;) {
            for (Index k = j + 1; k < count_; ++k) c[j] -= factor(k, j) * c[k];
            c[j] *= factor(j, j);
        }
        return true;
    }

    int memory_ = 0;
    int stale_ = 0;                 ///< Steps since the residual last fell.
    Number radius_ = first_radius;  ///< Longest extrapolation, relative to the residual.
    bool has_point_ = false;
    bool has_image_ = false;     ///< Whether image_ and residual_ are set.
    bool extrapolated_ = false;  ///< Whether the last step was extrapolated.
    Number least_ = (std::numeric_limits<Number>::max)();
    Index size_ = 0;
    Index lanes_ = 0;                                 ///< size_, padded to whole registers.
    Buffer<Number> point_, image_, residual_, step_;  ///< x, T(x), r; padded, like the changes.
    Index count_ = 0;                                 ///< How many changes are remembered,
    Index next_ = 0;                                  ///< and where the next one goes.
    Buffer<Number> residual_changes_, image_changes_;
    Buffer<Number> products_, factor_;  ///< memory x memory
    Buffer<Number> coefficients_;
};

}  // namespace detail
}  // namespace otpool
