// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/gradient/problem_gradient.hpp"
#include "otpool/problem/priors.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// Makes all numbers finite. An infinity comes from a plan whose mass is out of range, and becomes the largest number.
/// NaN comes from rewards of 1e20 times alpha0 or more, where no digit is left, and becomes 0.
template <BagScalar Number>
void saturate(Number* numbers, Index size) {
    if (all_finite(numbers, size)) return;  // looking is faster than writing
    constexpr Number largest = (std::numeric_limits<Number>::max)();
    for (Index i = 0; i < size; ++i) {
        numbers[i] = std::isnan(numbers[i]) ? Number(0) : std::clamp(numbers[i], -largest, largest);
    }
}

/// A bag's derivatives with respect to a D x N matrix, in the batch's memory. The memory is not set at first: the first
/// sum() sets zeros; who sets all numbers at once, in columns(), spares that pass over memory.
template <BagScalar Scalar>
class ElementGradient {
public:
    using Columns = Eigen::Map<Matrix<Scalar>>;

    ElementGradient(Scalar* numbers, Index rows, Index cols) : columns_(numbers, rows, cols) {}

    bool empty() const { return columns_.size() == 0; }
    /// Whether nothing has been added or set.
    bool is_new() const { return is_new_; }

    /// To add to. Writes zeros the first time.
    Columns& sum() {
        if (is_new_) std::fill_n(columns_.data(), columns_.size(), Scalar(0));
        return columns();
    }
    /// Column n, likewise.
    Scalar* sum(Index n) { return sum().data() + n * columns_.rows(); }
    /// To be set as a whole if is_new().
    Columns& columns() {
        is_new_ = is_finite_ = false;
        return columns_;
    }

    /// Says whether the present numbers are known to be finite; then saturate() need not look.
    void set_finite(bool is_finite) { is_finite_ = is_finite; }

    /// Makes all numbers finite; zeros if nothing was added.
    void saturate() {
        if (!is_finite_) detail::saturate(sum().data(), columns_.size());
    }

private:
    Columns columns_;
    bool is_new_ = true;
    bool is_finite_ = false;
};

/// The derivatives with respect to what the bags of a batch share, apart for every bag: so that they can be added up in
/// the bags' order, whatever the number of threads.
template <BagScalar Scalar>
class SharedGradients {
public:
    /// Zeros, with as many features, alphas and rhos as the batch has; no more than that if features have one alpha.
    SharedGradients(const ProblemGradient<Scalar>& batch, Index bags)
        : log_p0_(Matrix<Scalar>::Zero(batch.log_p0.size(), bags)),
          alphas1_(RealMatrix::Zero(batch.alphas1.size(), bags)),
          mass_(RealVector::Zero(bags)),
          parameters_(RealMatrix::Zero(batch.alpha0.size(), 4 * bags)) {}

    Eigen::Map<Vector<Scalar>> log_p0(Index bag) { return {log_p0_.data() + bag * log_p0_.rows(), log_p0_.rows()}; }
    Eigen::Map<RealVector> alphas1(Index bag) { return {alphas1_.data() + bag * alphas1_.rows(), alphas1_.rows()}; }
    Real& mass(Index bag) { return mass_[bag]; }
    /// Of the i-th of alpha0, alpha1, alpha2 and rho.
    Eigen::Map<RealVector> parameter(Index bag, Index i) {
        return {parameters_.data() + (4 * bag + i) * parameters_.rows(), parameters_.rows()};
    }

    void add_to(ProblemGradient<Scalar>& batch, Index bags) {
        for (Index bag = 0; bag < bags; ++bag) {
            batch.log_p0 += log_p0(bag);
            batch.alphas1 += alphas1(bag);
            batch.mass += mass(bag);
            Index i = 0;
            for (RealVector* sum : {&batch.alpha0, &batch.alpha1, &batch.alpha2, &batch.rho}) {
                *sum += parameter(bag, i++);
            }
        }
    }

private:
    Matrix<Scalar> log_p0_;  ///< A column a bag.
    RealMatrix alphas1_;     ///< Likewise; empty if the features have one alpha.
    RealVector mass_;        ///< A number a bag.
    RealMatrix parameters_;  ///< Four columns a bag.
};

/// A bag's part of the gradient of a batch. Derivatives are added to it. What is per instance is in the batch's memory.
template <BagScalar Scalar>
struct BagGradient {
    ElementGradient<Scalar> reward;
    ElementGradient<Scalar> values;  ///< Empty where the values are the reward.
    Eigen::Map<Vector<Scalar>> log_q0;
    Eigen::Map<Vector<Scalar>> log_p0;
    Eigen::Map<RealVector> alpha0, alpha1, alpha2, rho;
    Eigen::Map<RealVector> alphas1, alphas2;  ///< Empty where the lines of a side have one alpha.
    Real& mass;

    /// Zeros, of a bag whose instances are [first, first + size) of `batch`.
    BagGradient(ProblemGradient<Scalar>& batch, SharedGradients<Scalar>& shared, Index bag, Index first, Index size)
        : reward(columns(batch.reward, first, size)),
          values(columns(batch.values, first, batch.values.size() == 0 ? 0 : size)),
          log_q0(batch.log_q0.data() + first, size),
          log_p0(shared.log_p0(bag)),
          alpha0(shared.parameter(bag, 0)),
          alpha1(shared.parameter(bag, 1)),
          alpha2(shared.parameter(bag, 2)),
          rho(shared.parameter(bag, 3)),
          alphas1(shared.alphas1(bag)),
          alphas2(batch.alphas2.data() + (batch.alphas2.size() == 0 ? 0 : first), batch.alphas2.size() == 0 ? 0 : size),
          mass(shared.mass(bag)) {
        std::fill_n(log_q0.data(), size, Scalar(0));
        alphas2.setZero();
    }

    /// The derivative with respect to what is pooled.
    ElementGradient<Scalar>& pooled_values() { return values.empty() ? reward : values; }

    /// Makes all numbers finite.
    void saturate() {
        reward.saturate();
        values.saturate();
        for (auto* parameter : {&alpha0, &alpha1, &alpha2, &rho, &alphas1, &alphas2}) {
            detail::saturate(parameter->data(), parameter->size());
        }
        detail::saturate(&mass, 1);
        for (auto* log_prior : {&log_p0, &log_q0}) detail::saturate(log_prior->data(), log_prior->size());
    }

private:
    static ElementGradient<Scalar> columns(Matrix<Scalar>& matrix, Index first, Index count) {
        return {matrix.data() + first * matrix.rows(), matrix.rows(), count};
    }
};

/// The derivative with respect to line i's alpha: its own, or `common` if all lines have one (`own` is then empty).
Real& of_line(auto& own, Real& common, Index i) { return own.size() > 0 ? own[i] : common; }

/// Replaces derivatives with respect to log prior_i, of a prior that keeps this sum, by those through its normalisation;
/// none if it is 0. Returns what that takes from the derivative per mass of the prior.
template <std::same_as<Real> Number>
Number pull_back_normalization(const Number* log_prior, Index size, Number kept_sum, Number* derivative) {
    if (kept_sum == 0) return 0;
    Number total = 0;
    for (Index i = 0; i < size; ++i) total += derivative[i];
    total /= kept_sum;
    for_each_lanes(size, [&](Index i, Index count) {
        const Lanes<Number> prior = bounded_exp(load_some(log_prior + i, count, Number(0)));
        store_some(load_some(derivative + i, count, Number(0)) - prior * Lanes<Number>(total), derivative + i, count);
    });
    return total;
}

/// Adds derivatives with respect to the log-priors, log_q those of the active instances. Forbidden ones have a derivative
/// only through the normalisation, which takes q_per_mass from it per mass of the prior.
template <BagScalar Scalar>
void add_prior_gradients(const std::vector<Index>& active, const LogPriors& forbidden, Real q_per_mass,
                         const Real* log_p, const Real* log_q, BagGradient<Scalar>& gradient) {
    for (Index d = 0; d < gradient.log_p0.size(); ++d) gradient.log_p0[d] += static_cast<Scalar>(log_p[d]);
    for (std::size_t k = 0; k < active.size(); ++k) gradient.log_q0[active[k]] += static_cast<Scalar>(log_q[k]);
    for (const auto& [n, log_prior] : forbidden) {
        gradient.log_q0[n] -= static_cast<Scalar>(std::exp(log_prior) * q_per_mass);
    }
}
/// The same through the priors' normalisation. Overwrites log_p and log_q.
template <BagScalar Scalar>
void add_prior_gradients(const Priors& priors, RealVector& log_p, RealVector& log_q, BagGradient<Scalar>& gradient) {
    const auto& [log_p0, log_q0, active, forbidden, sum_of_p, sum_of_q] = priors;
    pull_back_normalization(log_p0.data(), log_p0.size(), sum_of_p, log_p.data());
    const Real per_mass = pull_back_normalization(log_q0.data(), log_q0.size(), sum_of_q, log_q.data());
    add_prior_gradients(active, forbidden, per_mass, log_p.data(), log_q.data(), gradient);
}

template <BagScalar Scalar>
RealVector as_reals(const Scalar* numbers, Index size) {
    RealVector reals(size);
    for (Index i = 0; i < size; ++i) reals[i] = static_cast<Real>(numbers[i]);
    return reals;
}

/// The gradient of one problem.
template <class Mode, class Readout, class Tape, BagScalar Scalar>
ProblemGradient<Scalar> gradient_of(const Mode& mode, const Readout& readout, const Tape& tape,
                                    const Vector<Scalar>& dL_dy) {
    const auto& problem = tape.problem;
    const Index N = problem.reward.cols();
    ProblemGradient<Scalar> gradient;
    gradient.resize(problem, N, mode.parameters());
    SharedGradients<Scalar> shared(gradient, 1);
    BagGradient<Scalar> all(gradient, shared, 0, 0, N);
    Workspace workspace;
    mode.add_gradient(readout, tape, as_reals(dL_dy.data(), dL_dy.size()), all, workspace);
    shared.add_to(gradient, 1);
    return gradient;
}

}  // namespace otpool::detail
