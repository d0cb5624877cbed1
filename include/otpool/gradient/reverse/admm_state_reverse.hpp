// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/admm_state_tape.hpp"
#include "otpool/gradient/reverse/half_step_reverse.hpp"
#include "otpool/gradient/reverse/parameter_sets.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/solver/steps/admm_state.hpp"

namespace otpool::detail {

/// The reverse of AdmmState's steps. In units of rho, z = Z/rho, t = log T, s = log S, a0 = alpha0/rho, a step is
///
///     t = (X/rho + s - z)     + k2 (log q0 - LSE_d(.)) - mass      Quadratic: (.) - 2 a0 S
///     s = (z + t) / (1 + a0)  + k1 (log p0 - LSE_n(.)) - mass      Quadratic: without a0
///     z = z + h(t - s)
///
/// and the plan is S times the mass that minimises the objective along it. Memory: four D x N matrices. Cost: four exps
/// an element and step.
template <std::same_as<Real> Work = Real>
class AdmmStateReverse {
public:
    using Columns = InstanceColumns;
    using Numbers = Eigen::Map<RealVector>;

    /// The sums to which derivatives are added: one entry per step, or one for all steps.
    struct OfParameters {
        Numbers alpha0, alpha1, alpha2, rho;
    };

    /// Of the reward's columns, and of the log-priors one by one; after run().
    Columns of_reward;
    RealVector of_log_p, of_log_q;

    AdmmStateReverse(const AdmmStateTape<Work>& tape, OfParameters of)
        : of_reward(tape.problem.features(), tape.problem.active_instances()),
          tape_(tape),
          of_(of),
          priors_(tape.problem.priors) {
        t_ = s_ = z_ = of_reward;
        of_log_p = row_ = row_excess_ = x_ = exponentials_ = RealVector::Zero(rows());
        of_log_q = col_ = col_excess_ = RealVector::Zero(cols());
    }

    /// P dL/dP of column k of the plan; of all columns, before run().
    void set_plan_derivative(Index k, const Real* column) { std::copy_n(column, rows(), s_[k]); }

    void run() {
        pull_back_mass();
        for (std::size_t k = tape_.steps.size(); --k > 0;) {
            update_dual(k);
            update_smooth(k);
            update_transport(k);
            change_rho(k);
        }
        // s = log p0 + log q0 before the first step
        for (Index c = 0; c < cols(); ++c) add_to_priors(c, 1, s_[c]);
    }

private:
    using Step = typename AdmmStateTape<Work>::Step;

    Index rows() const { return tape_.problem.features(); }
    Index cols() const { return tape_.problem.active_instances(); }
    bool is_separable() const { return tape_.problem.regularizer.separable != nullptr; }
    Real prior_weight() const { return tape_.problem.regularizer.prior_weight; }

    /// The entry of step k, which is from 1 here.
    static Real& of_step(Numbers& parameter, std::size_t k) {
        return detail::of_step(parameter, static_cast<Index>(k) - 1);
    }

    const Real* reward_column(Index c) {
        tape_.problem.reward.copy_column(priors_.active[static_cast<std::size_t>(c)], x_.data());
        return x_.data();
    }
    /// log p0_d + log q0_c
    Real log_prior(Index d, Index c) const { return priors_.log_p[d] + priors_.log_q[c]; }

    /// Adds factor times derivatives with respect to log p0_d + log q0_c of a column.
    void add_to_priors(Index c, Real factor, const Real* column) {
        for (Index d = 0; d < rows(); ++d) {
            of_log_p[d] += factor * column[d];
            of_log_q[c] += factor * column[d];
        }
    }

    /// row_ and col_ <- sums of a matrix.
    void set_sums(const Columns& columns) {
        std::fill(row_.begin(), row_.end(), 0);
        for (Index c = 0; c < cols(); ++c) {
            col_[c] = 0;
            for (Index d = 0; d < rows(); ++d) {
                row_[d] += columns[c][d];
                col_[c] += columns[c][d];
            }
        }
    }

    /// log P = s + log m, where with a mass that is not given
    ///     (alpha0 + alpha1 + alpha2) log m = <X, S> - alpha0 <S, s> - alpha1 <r, log(r/p0)> - alpha2 <c, log(c/q0)>
    void pull_back_mass() {
        const auto& [alpha0, alpha1, alpha2, rho] = tape_.parameters(tape_.steps.size() - 1);
        const Real stiffness = alpha0 + alpha1 + alpha2;
        const Step& last = tape_.steps.back();
        if (!last.unit_mass || std::isinf(stiffness) || stiffness == 0) return;
        Real of_sum = 0;
        for (const Work s : s_.numbers()) of_sum += s / stiffness;
        Columns S = last.s;
        bounded_exp(S[0], rows() * cols(), S[0]);
        set_sums(S);
        // How far the logarithms of marginals are from the priors'; its mean.
        const auto set_excess = [](const RealVector& mass, const auto& log_prior, RealVector& excess) {
            Real mean = 0;
            for (Index i = 0; i < mass.size(); ++i) {
                excess[i] = std::log(mass[i]) - log_prior[i];
                mean += mass[i] * excess[i];
            }
            return mean;
        };
        const Real features = set_excess(row_, priors_.log_p, row_excess_);
        const Real instances = set_excess(col_, priors_.log_q, col_excess_);
        Real reward = 0;
        Real entropy = 0;
        for (Index c = 0; c < cols(); ++c) {
            const Real* x = reward_column(c);
            for (Index d = 0; d < rows(); ++d) {
                const Real mass = S[c][d];
                const Real log_S = last.s[c][d] - prior_weight() * log_prior(d, c);  // R'(S)
                reward += x[d] * mass;
                entropy += log_S * mass;
                of_reward[c][d] += of_sum * mass;
                s_[c][d] +=
                    of_sum * mass *
                    (x[d] - alpha0 * (log_S + 1) - alpha1 * (row_excess_[d] + 1) - alpha2 * (col_excess_[c] + 1));
            }
        }
        const Real log_m = (reward - alpha0 * entropy - alpha1 * features - alpha2 * instances) / stiffness;
        const std::size_t k = tape_.steps.size() - 1;
        of_step(of_.alpha0, k) -= of_sum * (entropy + log_m);
        of_step(of_.alpha1, k) -= of_sum * (features + log_m);
        of_step(of_.alpha2, k) -= of_sum * (instances + log_m);
        const Real of_prior = prior_weight() * alpha0;
        for (Index d = 0; d < rows(); ++d) of_log_p[d] += of_sum * (alpha1 + of_prior) * row_[d];
        for (Index c = 0; c < cols(); ++c) of_log_q[c] += of_sum * (alpha2 + of_prior) * col_[c];
    }

    /// z = z + h(t - s)
    void update_dual(std::size_t k) {
        const Step& step = tape_.steps[k];
        const bool scaled = tape_.dual_step == DualStep::scaled;
        for (Index c = 0; c < cols(); ++c) {
            const Real* t = step.t[c];
            const Real* s = step.s[c];
            const Real* slope = exponentials([=](Index d) { return scaled ? -std::abs(t[d] - s[d]) : t[d]; });
            for (Index d = 0; d < rows(); ++d) t_[c][d] = z_[c][d] * slope[d];
            if (!scaled) slope = exponentials([=](Index d) { return s[d]; });
            for (Index d = 0; d < rows(); ++d) s_[c][d] -= z_[c][d] * slope[d];
        }
    }

    /// s = (z + t) / weight + k1 (log p0 - LSE_n) - mass
    void update_smooth(std::size_t k) {
        const Step& step = tape_.steps[k];
        const auto& [alpha0, alpha1, alpha2, rho] = tape_.parameters(k);
        const Real weight = is_separable() ? 1 : 1 + alpha0 / rho;
        set_sums(s_);
        const Real of_scale = half_step_.run(row_, alpha1, weight * rho, step.unit_mass, priors_.log_p,
                                             step.log_row_sum, of_log_p, of_step(of_.alpha1, k));
        const Columns& z_before = tape_.steps[k - 1].z;
        const Real ratio = tape_.rho_ratio(k);
        Real of_weight = 0;
        for (Index c = 0; c < cols(); ++c) {
            const Real* share = exponentials([&, s = step.s[c]](Index d) { return s[d] - half_step_.log_marginal[d]; });
            for (Index d = 0; d < rows(); ++d) {
                s_[c][d] += share[d] * half_step_.of_log_sum[d];
                of_weight -= (z_before[c][d] * ratio + step.t[c][d]) * s_[c][d] / weight / weight;
                t_[c][d] += s_[c][d] / weight;
                z_[c][d] += s_[c][d] / weight;
            }
        }
        of_step(of_.rho, k) += of_scale;
        if (is_separable()) return;
        of_step(of_.rho, k) -= of_weight * alpha0 / rho / rho;
        of_step(of_.alpha0, k) += of_scale + of_weight / rho;
    }

    /// t = X/rho + s - z + k2 (log q0 - LSE_d) - mass
    void update_transport(std::size_t k) {
        const Step& step = tape_.steps[k];
        const Step& before = tape_.steps[k - 1];
        const auto& [alpha0, alpha1, alpha2, rho] = tape_.parameters(k);
        const AnyRegularizer& regularizer = tape_.problem.regularizer;
        const Real strength = alpha0 / rho;
        set_sums(t_);
        of_step(of_.rho, k) += half_step_.run(col_, alpha2, rho, step.unit_mass, priors_.log_q, step.log_col_sum,
                                              of_log_q, of_step(of_.alpha2, k));
        Real of_strength = 0;
        Real of_inverse_rho = 0;
        for (Index c = 0; c < cols(); ++c) {
            const Real* x = reward_column(c);
            const Real log_marginal = half_step_.log_marginal[c];
            const Real* share = exponentials([=, t = step.t[c]](Index d) { return t[d] - log_marginal; });
            for (Index d = 0; d < rows(); ++d) {
                const Real of_t = t_[c][d] + half_step_.of_log_sum[c] * share[d];
                of_inverse_rho += of_t * x[d];
                of_reward[c][d] += of_t / rho;
                z_[c][d] -= of_t;
                s_[c][d] = of_t;
                of_strength += of_t * prior_weight() * log_prior(d, c);
            }
            if (prior_weight() != 0) add_to_priors(c, prior_weight() * strength, s_[c]);
            if (!is_separable()) continue;
            const Real* S = exponentials([s = before.s[c]](Index d) { return s[d]; });
            for (Index d = 0; d < rows(); ++d) {
                of_strength -= regularizer.derivative(S[d]) * s_[c][d];
                s_[c][d] *= 1 - strength * regularizer.curvature(S[d]) * S[d];
            }
        }
        of_step(of_.alpha0, k) += of_strength / rho;
        of_step(of_.rho, k) -= (of_inverse_rho + of_strength * alpha0) / rho / rho;
    }

    /// z is in units of rho.
    void change_rho(std::size_t k) {
        if (k == 1 || tape_.parameter_sets.shared()) return;
        const Real ratio = tape_.rho_ratio(k);
        Real moved = 0;
        const std::vector<Work>& before = tape_.steps[k - 1].z.numbers();
        std::vector<Work>& of_z = z_.numbers();
        for (std::size_t i = 0; i < of_z.size(); ++i) {
            moved += of_z[i] * before[i] * ratio;
            of_z[i] *= ratio;
        }
        of_step(of_.rho, k - 1) += moved / tape_.parameters(k - 1).rho;
        of_step(of_.rho, k) -= moved / tape_.parameters(k).rho;
    }

    /// exp(exponent(d)) of every feature, valid until the next call.
    template <class Exponent>
    const Real* exponentials(const Exponent& exponent) {
        for (Index d = 0; d < rows(); ++d) exponentials_[d] = exponent(d);
        bounded_exp(exponentials_.data(), rows(), exponentials_.data());
        return exponentials_.data();
    }

    const AdmmStateTape<Work>& tape_;
    OfParameters of_;
    const Priors& priors_;
    Columns t_, s_, z_;  ///< Derivatives with respect to the state.
    RealVector row_, col_, row_excess_, col_excess_;
    RealVector x_, exponentials_;  ///< Of the present column.
    HalfStepReverse half_step_;
};

}  // namespace otpool::detail
