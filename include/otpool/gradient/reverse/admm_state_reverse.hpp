// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/gradient/reverse/marginal_shift.hpp"
#include "otpool/gradient/step_parameters.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/problem/side.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/solver/steps/admm_state.hpp"

namespace otpool::detail {

/// K steps of AdmmState, as their reverse needs to know them.
template <std::same_as<Real> Work = Real>
struct AdmmStateRecord {
    using Columns = InstanceColumns;

    /// The state after a step; steps[0] is the one before the first.
    struct Step {
        Columns t, s, z;  ///< log T, log S and Z / rho
        bool unit_mass;
    };

    Inspection problem;
    bool quadratic;
    DualStep dual_step;
    std::vector<StepParameters> parameter_sets;  ///< One, or one a step.
    std::vector<Step> steps = {};

    const StepParameters& parameters(std::size_t k) const {
        return parameter_sets[std::min(k, parameter_sets.size()) - 1];
    }
    /// rho of step k - 1 over that of step k: z is in units of it.
    Real rho_ratio(std::size_t k) const { return k == 1 ? 1 : parameters(k - 1).rho / parameters(k).rho; }
};

/// The reverse of AdmmState's steps. In units of rho, z = Z/rho, t = log T, s = log S, a0 = alpha0/rho, a step is
///
///     t = (X/rho + s - z)     + k2 (log q0 - LSE_d(.)) - mass,   of Quadratic's (.) - 2 a0 S
///     s = (z + t) / (1 + a0)  + k1 (log p0 - LSE_n(.)) - mass,   of Quadratic's without a0
///     z = z + h(t - s)
///
/// and the plan is S times the mass that minimises the objective along it.
template <std::same_as<Real> Work = Real>
class AdmmStateReverse {
public:
    using Columns = InstanceColumns;
    using Numbers = Eigen::Map<RealVector>;

    /// The sums to which derivatives are added: one entry per step, or one for all steps.
    struct OfParameters {
        Numbers alpha0, alpha1, alpha2, rho;
    };

    AdmmStateReverse(const AdmmStateRecord<Work>& record, OfParameters of)
        : record_(record), of_(of), priors_(record.problem.priors) {
        for (Columns* cotangents : {&t_, &s_, &z_, &of_reward_}) *cotangents = Columns(rows(), cols());
        for (Buffer<Real>* of_rows : {&of_log_p_, &row_, &log_row_, &row_shift_, &x_, &exponentials_})
            set_zero(*of_rows, rows());
        for (Buffer<Real>* of_cols : {&of_log_q_, &col_, &log_col_, &col_shift_}) set_zero(*of_cols, cols());
    }

    /// P dL/dP of column k of the plan; of all columns, before run().
    void set_plan_cotangent(Index k, const Real* column) { std::copy_n(column, rows(), s_[k]); }

    void run() {
        pull_back_mass();
        for (std::size_t k = record_.steps.size(); --k > 0;) {
            update_dual(k);
            update_smooth(k);
            update_transport(k);
            begin(k);
        }
        // s = log p0 + log q0 before the first step
        for (Index c = 0; c < cols(); ++c) {
            for (Index d = 0; d < rows(); ++d) {
                of_log_p_[d] += s_[c][d];
                of_log_q_[c] += s_[c][d];
            }
        }
    }

    const Columns& of_reward() const { return of_reward_; }
    RealVector of_log_p() const { return vector(of_log_p_); }
    RealVector of_log_q() const { return vector(of_log_q_); }

private:
    using Step = typename AdmmStateRecord<Work>::Step;

    Index rows() const { return record_.problem.features(); }
    Index cols() const { return record_.problem.active_instances(); }
    bool quadratic() const { return record_.quadratic; }
    bool relative() const { return record_.problem.relative; }

    static void set_zero(Buffer<Real>& numbers, Index size) {
        numbers.resize(size);
        std::fill(numbers.begin(), numbers.end(), 0);
    }
    static RealVector vector(const Buffer<Real>& numbers) {
        RealVector copy(numbers.size());
        std::copy(numbers.begin(), numbers.end(), copy.begin());
        return copy;
    }
    /// The entry of step k, which is from 1 here.
    static Real& of_step(Numbers& parameter, std::size_t k) { return detail::of_step(parameter, k - 1); }

    const Real* reward_column(Index c) {
        record_.problem.reward.copy_column(priors_.active[static_cast<std::size_t>(c)], x_.data());
        return x_.data();
    }

    /// log P = s + log m, where with a mass that is not given
    ///     (alpha0 + alpha1 + alpha2) log m = <X, S> - alpha0 <S, s> - alpha1 <r, log(r/p0)> - alpha2 <c, log(c/q0)>
    void pull_back_mass() {
        const Inspection& problem = record_.problem;  // with the last step's alphas
        const Real alpha0 = problem.alpha0;
        const Real alpha1 = problem.alpha1;
        const Real alpha2 = problem.alpha2;
        const Real stiffness = alpha0 + alpha1 + alpha2;
        const Step& last = record_.steps.back();
        if (!last.unit_mass || std::isinf(stiffness) || stiffness == 0) return;
        Real of_sum = 0;
        for (const Work s : s_.numbers()) of_sum += s / stiffness;
        // Of S, its marginals: row_ and col_, and how far their logarithms are from the priors'.
        Columns S = last.s;
        bounded_exp(S[0], rows() * cols(), S[0]);
        std::fill(row_.begin(), row_.end(), 0);
        std::fill(col_.begin(), col_.end(), 0);
        for (Index c = 0; c < cols(); ++c) {
            for (Index d = 0; d < rows(); ++d) {
                row_[d] += S[c][d];
                col_[c] += S[c][d];
            }
        }
        const auto set_excess = [](const Buffer<Real>& mass, const auto& log_prior, Buffer<Real>& excess) {
            Real mean = 0;
            for (Index i = 0; i < mass.size(); ++i) {
                excess[i] = std::log(mass[i]) - log_prior[i];
                mean += mass[i] * excess[i];
            }
            return mean;
        };
        const Real features = set_excess(row_, priors_.log_p, log_row_);
        const Real instances = set_excess(col_, priors_.log_q, log_col_);
        Real reward = 0;
        Real entropy = 0;
        for (Index c = 0; c < cols(); ++c) {
            const Real* x = reward_column(c);
            for (Index d = 0; d < rows(); ++d) {
                const Real mass = S[c][d];
                const Real log_S = last.s[c][d] - (relative() ? priors_.log_p[d] + priors_.log_q[c] : 0);  // R'(S)
                reward += x[d] * mass;
                entropy += log_S * mass;
                of_reward_[c][d] += of_sum * mass;
                s_[c][d] += of_sum * mass *
                            (x[d] - alpha0 * (log_S + 1) - alpha1 * (log_row_[d] + 1) - alpha2 * (log_col_[c] + 1));
            }
        }
        const Real log_m = (reward - alpha0 * entropy - alpha1 * features - alpha2 * instances) / stiffness;
        const std::size_t k = record_.steps.size() - 1;
        of_step(of_.alpha0, k) -= of_sum * (entropy + log_m);
        of_step(of_.alpha1, k) -= of_sum * (features + log_m);
        of_step(of_.alpha2, k) -= of_sum * (instances + log_m);
        const Real of_prior = relative() ? alpha0 : 0;
        for (Index d = 0; d < rows(); ++d) of_log_p_[d] += of_sum * (alpha1 + of_prior) * row_[d];
        for (Index c = 0; c < cols(); ++c) of_log_q_[c] += of_sum * (alpha2 + of_prior) * col_[c];
    }

    /// z = z + h(t - s)
    void update_dual(std::size_t k) {
        const Step& step = record_.steps[k];
        const bool scaled = record_.dual_step == DualStep::scaled;
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
        const Step& step = record_.steps[k];
        const Columns& z_before = record_.steps[k - 1].z;
        const auto& parameters = record_.parameters(k);
        const Real alpha0 = quadratic() ? 0 : parameters.alpha0;
        const Real weight = 1 + alpha0 / parameters.rho;
        const Real ratio = record_.rho_ratio(k);
        const auto moved = [&](Index c, Index d) { return z_before[c][d] * ratio + step.t[c][d]; };  // z + t
        log_row_sums_of(step.s, log_row_.data(), exponentials_);
        std::fill(row_.begin(), row_.end(), 0);
        for (Index c = 0; c < cols(); ++c) {
            for (Index d = 0; d < rows(); ++d) row_[d] += s_[c][d];
        }
        for (Index d = 0; d < rows(); ++d) row_shift_[d] = log_row_[d] - (step.s[0][d] - moved(0, d) / weight);
        const Real scale = weight * parameters.rho;
        marginal_.set(row_, damping(parameters.alpha1, scale), priors_.log_p.data(), row_shift_.data(), log_row_.data(),
                      step.unit_mass);
        for (Index d = 0; d < rows(); ++d) of_log_p_[d] += marginal_.of_prior[d];
        Real of_weight = 0;
        for (Index c = 0; c < cols(); ++c) {
            const Real* weight_of_col = exponentials([&, s = step.s[c]](Index d) { return s[d] - log_row_[d]; });
            for (Index d = 0; d < rows(); ++d) {
                s_[c][d] += weight_of_col[d] * marginal_.of_log_sum[d];
                of_weight -= moved(c, d) * s_[c][d] / weight / weight;
                t_[c][d] += s_[c][d] / weight;
                z_[c][d] += s_[c][d] / weight;
            }
        }
        const Real of_scale = pull_back_damping(marginal_.of_damping, parameters.alpha1, scale, of_step(of_.alpha1, k));
        of_step(of_.rho, k) += of_scale - (alpha0 > 0 ? of_weight * alpha0 / parameters.rho / parameters.rho : 0);
        if (!quadratic()) of_step(of_.alpha0, k) += of_scale + of_weight / parameters.rho;
    }

    /// t = X/rho + s - z + k2 (log q0 - LSE_d) - mass
    void update_transport(std::size_t k) {
        const Step& step = record_.steps[k];
        const Step& before = record_.steps[k - 1];
        const auto& parameters = record_.parameters(k);
        const Real rho = parameters.rho;
        const Real strength = parameters.alpha0 / rho;
        for (Index c = 0; c < cols(); ++c) {
            Real from = reward_column(c)[0] / rho + before.s[c][0] - before.z[c][0] * record_.rho_ratio(k);
            if (relative()) from += strength * (priors_.log_p[0] + priors_.log_q[c]);
            if (quadratic()) from -= 2 * strength * std::exp(before.s[c][0]);
            log_col_[c] = log_sum_exp(step.t[c], rows());
            col_shift_[c] = log_col_[c] - (step.t[c][0] - from);
            col_[c] = 0;
            for (Index d = 0; d < rows(); ++d) col_[c] += t_[c][d];
        }
        marginal_.set(col_, damping(parameters.alpha2, rho), priors_.log_q.data(), col_shift_.data(), log_col_.data(),
                      step.unit_mass);
        Real of_strength = 0;
        Real of_inverse_rho = 0;
        for (Index c = 0; c < cols(); ++c) {
            const Real* x = reward_column(c);
            of_log_q_[c] += marginal_.of_prior[c];
            const Real* share = exponentials([&, t = step.t[c]](Index d) { return t[d] - log_col_[c]; });
            for (Index d = 0; d < rows(); ++d) {
                const Real of_t = t_[c][d] + marginal_.of_log_sum[c] * share[d];
                of_inverse_rho += of_t * x[d];
                of_reward_[c][d] += of_t / rho;
                z_[c][d] -= of_t;
                s_[c][d] = of_t;
                if (relative()) {
                    of_strength += of_t * (priors_.log_p[d] + priors_.log_q[c]);
                    of_log_p_[d] += strength * of_t;
                    of_log_q_[c] += strength * of_t;
                }
                if (quadratic()) {
                    const Real S = std::exp(before.s[c][d]);
                    of_strength -= 2 * S * of_t;
                    s_[c][d] *= 1 - 2 * strength * S;
                }
            }
        }
        of_step(of_.alpha0, k) += of_strength / rho;
        of_step(of_.rho, k) += pull_back_damping(marginal_.of_damping, parameters.alpha2, rho, of_step(of_.alpha2, k)) -
                               (of_inverse_rho + of_strength * parameters.alpha0) / rho / rho;
    }

    /// z is in units of rho.
    void begin(std::size_t k) {
        if (k == 1 || record_.parameter_sets.size() == 1) return;
        const Real ratio = record_.rho_ratio(k);
        Real moved = 0;
        const std::vector<Work>& before = record_.steps[k - 1].z.numbers();
        std::vector<Work>& of_z = z_.numbers();
        for (std::size_t i = 0; i < of_z.size(); ++i) {
            moved += of_z[i] * before[i] * ratio;
            of_z[i] *= ratio;
        }
        of_step(of_.rho, k - 1) += moved / record_.parameters(k - 1).rho;
        of_step(of_.rho, k) -= moved / record_.parameters(k).rho;
    }

    /// exp(exponent(d)) of every feature, valid until the next call.
    template <class Exponent>
    const Real* exponentials(const Exponent& exponent) {
        for (Index d = 0; d < rows(); ++d) exponentials_[d] = exponent(d);
        bounded_exp(exponentials_.data(), rows(), exponentials_.data());
        return exponentials_.data();
    }

    const AdmmStateRecord<Work>& record_;
    OfParameters of_;
    const Priors& priors_;
    Columns t_, s_, z_, of_reward_;
    Buffer<Real> of_log_p_, of_log_q_;
    Buffer<Real> row_, log_row_, row_shift_, col_, log_col_, col_shift_;  ///< Of the present step.
    Buffer<Real> x_, exponentials_;
    MarginalCotangents marginal_;
};

}  // namespace otpool::detail
