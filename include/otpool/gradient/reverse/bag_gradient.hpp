// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cstddef>

#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/gradient/problem_gradient.hpp"
#include "otpool/gradient/reverse/element_gradient.hpp"
#include "otpool/problem/priors.hpp"
#include "otpool/simd/exponential.hpp"

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
        return {parameters.col(4 * bag + i).data(), parameters.rows()};
    }

    void add_to(ProblemGradient<Scalar>& batch) {
        for (Index bag = 0; bag < log_p0.cols(); ++bag) {
            batch.log_p0 += log_p0.col(bag);
            Index i = 0;
            for (RealVector* sum : {&batch.alpha0, &batch.alpha1, &batch.alpha2, &batch.rho}) {
                *sum += parameter(bag, i++);
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
          log_p0(shared.log_p0.col(bag).data(), shared.log_p0.rows()),
          alpha0(shared.parameter(bag, 0)),
          alpha1(shared.parameter(bag, 1)),
          alpha2(shared.parameter(bag, 2)),
          rho(shared.parameter(bag, 3)) {
        log_q0.setZero();
    }

    /// The derivative with respect to what is pooled.
    ElementGradient<Scalar>& pooled_values() { return values.empty() ? reward : values; }

    /// Makes finite numbers of all.
    void saturate() {
        reward.saturate();
        values.saturate();
        const auto saturate_all = [](auto&... arrays) { (detail::saturate(arrays), ...); };
        saturate_all(alpha0, alpha1, alpha2, rho, log_p0, log_q0);
    }

private:
    static ElementGradient<Scalar> columns(Matrix<Scalar>& matrix, Index first, Index count) {
        return {matrix.data() + first * matrix.rows(), matrix.rows(), count};
    }
};

/// Adds the derivatives with respect to the normalised log-priors of the active instances, which `log_p` and `log_q`
/// become, given those with respect to any log-priors.
template <class Scalar>
void add_prior_gradients(const Priors& priors, auto&& log_p, auto&& log_q, BagGradient<Scalar>& gradient) {
    log_p.array() -= log_p.sum() * bounded_exp(priors.log_p.array());
    log_q.array() -= log_q.sum() * bounded_exp(priors.log_q.array());
    gradient.log_p0 += log_p.template cast<Scalar>();
    for (std::size_t k = 0; k < priors.active.size(); ++k) {
        gradient.log_q0[priors.active[k]] += static_cast<Scalar>(log_q[static_cast<Index>(k)]);
    }
}

/// The gradient of one problem: all of what a mode adds.
template <class Mode, class Readout, class Tape, BagScalar Scalar>
ProblemGradient<Scalar> gradient_of(const Mode& mode, const Readout& readout, const Tape& tape,
                                    const Vector<Scalar>& dL_dy) {
    const auto& problem = tape.solution.problem;
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
