// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/gradient/problem_gradient.hpp"
#include "otpool/gradient/reverse/element_gradient.hpp"
#include "otpool/problem/priors.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// Every bag's derivatives with respect to what bags share, zeros at first: they are added up in the bags' order, when
/// all are there.
template <BagScalar Scalar>
struct SharedGradients {
    Matrix<Scalar> log_p0;  ///< A column a bag.
    RealMatrix parameters;  ///< Four columns a bag: of alpha0, alpha1, alpha2 and rho.

    /// With as many features, alphas and rhos as the batch has.
    SharedGradients(const ProblemGradient<Scalar>& batch, Index bags)
        : log_p0(Matrix<Scalar>::Zero(batch.log_p0.size(), bags)),
          parameters(RealMatrix::Zero(batch.alpha0.size(), 4 * bags)) {}

    /// A bag's derivatives with respect to the i-th of alpha0, alpha1, alpha2 and rho.
    Eigen::Map<RealVector> parameter(Index bag, Index i) {
        return {parameters.data() + (4 * bag + i) * parameters.rows(), parameters.rows()};
    }

    void add_to(ProblemGradient<Scalar>& batch) {
        for (Index bag = 0; bag < log_p0.cols(); ++bag) {
            for (Index d = 0; d < log_p0.rows(); ++d) batch.log_p0[d] += log_p0(d, bag);
            Index column = 4 * bag;
            for (RealVector* sum : {&batch.alpha0, &batch.alpha1, &batch.alpha2, &batch.rho}) {
                for (Index k = 0; k < sum->size(); ++k) (*sum)[k] += parameters(k, column);
                ++column;
            }
        }
    }
};

/// A bag's part of the gradient of a batch, to which its derivatives are added: what there is one of an instance is in
/// the batch's memory.
template <BagScalar Scalar>
struct BagGradient {
    ElementGradient<Scalar> reward;
    ElementGradient<Scalar> values;  ///< Empty where the values are the reward.
    Eigen::Map<Vector<Scalar>> log_q0;
    Eigen::Map<Vector<Scalar>> log_p0;
    Eigen::Map<RealVector> alpha0, alpha1, alpha2, rho;

    /// Zeros, of a bag whose instances are [first, first + size) of `batch`.
    BagGradient(ProblemGradient<Scalar>& batch, SharedGradients<Scalar>& shared, Index bag, Index first, Index size)
        : reward(columns(batch.reward, first, size)),
          values(columns(batch.values, first, batch.values.size() == 0 ? 0 : size)),
          log_q0(batch.log_q0.data() + first, size),
          log_p0(shared.log_p0.data() + bag * shared.log_p0.rows(), shared.log_p0.rows()),
          alpha0(shared.parameter(bag, 0)),
          alpha1(shared.parameter(bag, 1)),
          alpha2(shared.parameter(bag, 2)),
          rho(shared.parameter(bag, 3)) {
        std::fill_n(log_q0.data(), size, Scalar(0));
    }

    /// The derivative with respect to what is pooled.
    ElementGradient<Scalar>& pooled_values() { return values.empty() ? reward : values; }

    /// Makes finite numbers of all.
    void saturate() {
        reward.saturate();
        values.saturate();
        const auto saturate_all = [](auto&... arrays) { (detail::saturate(arrays.data(), arrays.size()), ...); };
        saturate_all(alpha0, alpha1, alpha2, rho, log_p0, log_q0);
    }

private:
    static ElementGradient<Scalar> columns(Matrix<Scalar>& matrix, Index first, Index count) {
        return {matrix.data() + first * matrix.rows(), matrix.rows(), count};
    }
};

/// Makes derivatives with respect to the normalised log-priors of those with respect to any log-priors.
template <class Number>
void through_normalisation(const Number* log_prior, Index size, Number* derivative) {
    using L = Lanes<Number>;
    Number total = 0;
    for (Index i = 0; i < size; ++i) total += derivative[i];
    for_each_lanes(size, [&](Index i, Index count) {
        const L prior = bounded_exp(load_some(log_prior + i, count, Number(0)));
        store_some(load_some(derivative + i, count, Number(0)) - L(total) * prior, derivative + i, count);
    });
}

/// Adds the derivatives with respect to the normalised log-priors of the features and of the active instances, which
/// `of_p` and `of_q` become, given those with respect to any log-priors.
template <class Scalar>
void add_prior_gradients(const std::vector<Index>& active, const Real* log_p, const Real* log_q, Real* of_p, Real* of_q,
                         BagGradient<Scalar>& gradient) {
    through_normalisation(log_p, gradient.log_p0.size(), of_p);
    through_normalisation(log_q, static_cast<Index>(active.size()), of_q);
    for (Index d = 0; d < gradient.log_p0.size(); ++d) gradient.log_p0[d] += static_cast<Scalar>(of_p[d]);
    for (std::size_t k = 0; k < active.size(); ++k) gradient.log_q0[active[k]] += static_cast<Scalar>(of_q[k]);
}
template <class Scalar>
void add_prior_gradients(const Priors& priors, auto&& of_p, auto&& of_q, BagGradient<Scalar>& gradient) {
    add_prior_gradients(priors.active, priors.log_p.data(), priors.log_q.data(), of_p.data(), of_q.data(), gradient);
}

/// The gradient of one problem: all of what a mode adds.
template <class Mode, class Readout, class Tape, BagScalar Scalar>
ProblemGradient<Scalar> gradient_of(const Mode& mode, const Readout& readout, const Tape& tape,
                                    const Vector<Scalar>& dL_dy) {
    const auto& problem = tape.problem();
    const Index N = problem.reward.cols();
    ProblemGradient<Scalar> gradient;
    gradient.resize(problem.reward.rows(), N, !problem.values.empty(), mode.parameters());
    SharedGradients<Scalar> shared(gradient, 1);
    BagGradient<Scalar> all(gradient, shared, 0, 0, N);
    Workspace workspace;
    mode.add_gradient(readout, tape, dL_dy, all, workspace);
    shared.add_to(gradient);
    return gradient;
}

}  // namespace otpool::detail
