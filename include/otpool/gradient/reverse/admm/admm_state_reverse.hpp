// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/admm/admm_state_tape.hpp"
#include "otpool/gradient/reverse/half_step_reverse.hpp"
#include "otpool/gradient/reverse/parameter_sets.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/solver/admm/admm_state.hpp"

namespace otpool::detail {

/// The reverse of AdmmState's steps. In units of rho, z = Z/rho, t = log T, s = log S, a0 = alpha0/rho, a step is
///
///     t = (X/rho + s - z)     + k2 (log q0 - LSE_d(.)) - mass      Quadratic: (.) - 2 a0 S
///     s = (z + t) / (1 + a0)  + k1 (log p0 - LSE_n(.)) - mass      Quadratic: without a0
///     z = z + h(t - s)
///
/// and the plan is S times the mass that minimises the objective along it. Memory: six D x N matrices. Cost: four exps an
/// element and step.
template <std::same_as<Real> Work = Real>
class AdmmStateReverse {
public:
    using WorkMatrix = Matrix<Work>;
    using Numbers = Eigen::Map<RealVector>;

    /// The sums to which derivatives are added: one entry per step, or one for all steps.
    struct OfParameters {
        Numbers alpha0, alpha1, alpha2, rho;
    };

    WorkMatrix of_plan;             ///< P dL/dP; to be set before run(), which uses it up.
    WorkMatrix of_reward;           ///< dL/dX of the active instances, after run().
    RealVector of_log_p, of_log_q;  ///< With respect to each log-prior, likewise.

    AdmmStateReverse(const AdmmStateTape<Work>& tape, OfParameters of)
        : tape_(tape), of_(of), priors_(tape.problem.priors) {
        const Index rows = tape.problem.features();
        const Index cols = tape.problem.active_instances();
        of_plan = of_reward = z_ = WorkMatrix::Zero(rows, cols);
        of_log_p = RealVector::Zero(rows);
        of_log_q = RealVector::Zero(cols);
        x_.resize(rows, cols);
        for (Index c = 0; c < cols; ++c) {
            tape.problem.reward.copy_column(priors_.active[static_cast<std::size_t>(c)], x_.data() + c * rows);
        }
        for (Work& x : x_.reshaped()) x = std::isinf(x) ? 0 : x;  // times the plan, which is 0 there
    }

    void run() {
        s_.swap(of_plan);
        pull_back_mass();
        for (std::size_t k = tape_.steps.size(); --k > 0;) {
            update_dual(k);
            update_smooth(k);
            update_transport(k);
            change_rho(k);
        }
        add_to_priors(1, s_);  // s = log p0 + log q0 before the first step
    }

private:
    using Step = typename AdmmStateTape<Work>::Step;

    const AnyRegularizer& regularizer() const { return tape_.problem.regularizer; }
    bool is_separable() const { return regularizer().separable != nullptr; }

    /// The entry of step k, which is from 1 here.
    static Real& of_step(Numbers& parameter, std::size_t k) {
        return detail::of_step(parameter, static_cast<Index>(k) - 1);
    }

    static RealVector row_sums(const WorkMatrix& matrix) { return matrix.rowwise().sum(); }
    static RealVector col_sums(const WorkMatrix& matrix) { return matrix.colwise().sum(); }
    static Real product(const WorkMatrix& a, const WorkMatrix& b) { return a.cwiseProduct(b).sum(); }
    static const WorkMatrix& exponentials(WorkMatrix& exponents) {
        bounded_exp(exponents.data(), exponents.size(), exponents.data());
        return exponents;
    }
    /// Valid until the next call.
    const WorkMatrix& exponentials_of(const WorkMatrix& exponents) { return exponentials(exp_ = exponents); }

    /// Adds `factor` times derivatives with respect to log p0_d + log q0_n; returns the sum of derivatives times
    /// log p0_d + log q0_n.
    Real add_to_priors(Real factor, const WorkMatrix& of_sum) {
        const RealVector of_rows = row_sums(of_sum);
        const RealVector of_cols = col_sums(of_sum);
        of_log_p += factor * of_rows;
        of_log_q += factor * of_cols;
        return of_rows.dot(priors_.log_p) + of_cols.dot(priors_.log_q.vector());
    }

    /// log P = s + log m, where with a mass that is not given
    ///     (alpha0 + alpha1 + alpha2) log m = <X, S> - alpha0 <S, s> - alpha1 <r, log(r/p0)> - alpha2 <c, log(c/q0)>
    void pull_back_mass() {
        const std::size_t k = tape_.steps.size() - 1;
        const auto& [alpha0, alpha1, alpha2, rho] = tape_.parameters(k);
        const Real stiffness = alpha0 + alpha1 + alpha2;
        const Step& last = tape_.steps.back();
        if (!last.unit_mass || stiffness == 0) return;
        if (std::isinf(alpha1)) return pull_back_hard_mass(priors_.log_p.data(), of_log_p);
        if (std::isinf(alpha2)) return pull_back_hard_mass(priors_.log_q.data(), of_log_q);
        if (std::isinf(stiffness)) return;
        const Real of_sum = s_.sum() / stiffness;
        const WorkMatrix& S = exponentials_of(last.s);
        const RealVector r = row_sums(S);
        const RealVector c = col_sums(S);
        RealVector of_r(r.size());  // log(r/p0)
        RealVector of_c(c.size());
        for (Index d = 0; d < r.size(); ++d) of_r[d] = std::log(r[d]) - priors_.log_p[d];
        for (Index n = 0; n < c.size(); ++n) of_c[n] = std::log(c[n]) - priors_.log_q[n];
        WorkMatrix log_S = last.s;  // R'(S)
        const Real prior_weight = regularizer().prior_weight;
        if (prior_weight != 0) {
            log_S = (log_S.colwise() - prior_weight * priors_.log_p).rowwise() -
                    prior_weight * priors_.log_q.vector().transpose();
        }
        const Real entropy = product(S, log_S);
        const Real features = r.dot(of_r);
        const Real instances = c.dot(of_c);
        const Real log_m = (product(S, x_) - alpha0 * entropy - alpha1 * features - alpha2 * instances) / stiffness;
        of_step(of_.alpha0, k) -= of_sum * (entropy + log_m);
        of_step(of_.alpha1, k) -= of_sum * (features + log_m);
        of_step(of_.alpha2, k) -= of_sum * (instances + log_m);
        const Real of_prior = prior_weight * alpha0;
        of_log_p += of_sum * (alpha1 + of_prior) * r;
        of_log_q += of_sum * (alpha2 + of_prior) * c;
        of_reward += of_sum * S;
        // X - alpha0 (log S + 1) - alpha1 (log(r/p0) + 1) - alpha2 (log(c/q0) + 1)
        of_r *= alpha1;
        of_c *= alpha2;
        log_S = ((x_ - alpha0 * log_S).colwise() - of_r).rowwise() - of_c.transpose();
        s_ += of_sum * S.cwiseProduct(log_S);
        s_ -= of_sum * stiffness * S;
    }

    /// The same where a hard side gives the mass, m = sum_i exp(log prior_i).
    void pull_back_hard_mass(const Real* log_prior, RealVector& of_log_prior) const {
        const Real log_m = log_sum_exp(log_prior, of_log_prior.size());
        const Real of_sum = s_.sum();
        for (Index i = 0; i < of_log_prior.size(); ++i) of_log_prior[i] += of_sum * std::exp(log_prior[i] - log_m);
    }

    /// z = z + h(t - s)
    void update_dual(std::size_t k) {
        const Step& step = tape_.steps[k];
        const bool scaled = tape_.dual_step == DualStep::scaled;
        t_ = z_.cwiseProduct(exponentials_of(scaled ? WorkMatrix(-(step.t - step.s).cwiseAbs()) : step.t));
        s_ -= scaled ? t_ : WorkMatrix(z_.cwiseProduct(exponentials_of(step.s)));
    }

    /// s = (z + t) / weight + k1 (log p0 - LSE_n) - mass
    void update_smooth(std::size_t k) {
        const Step& step = tape_.steps[k];
        const auto& [alpha0, alpha1, alpha2, rho] = tape_.parameters(k);
        const Real weight = is_separable() ? 1 : 1 + alpha0 / rho;
        const Real of_scale = half_step_.run(row_sums(s_), alpha1, weight * rho, step.unit_mass, priors_.log_p,
                                             step.log_row_sum, of_log_p, of_step(of_.alpha1, k));
        exp_ = step.s.colwise() - half_step_.log_marginal.vector();
        s_ += half_step_.of_log_sum.vector().asDiagonal() * exponentials(exp_);
        s_ /= weight;
        t_ += s_;
        z_ += s_;
        of_step(of_.rho, k) += of_scale;
        if (is_separable()) return;
        const Real of_weight = -(product(step.t, s_) + tape_.rho_ratio(k) * product(tape_.steps[k - 1].z, s_)) / weight;
        of_step(of_.rho, k) -= of_weight * alpha0 / rho / rho;
        of_step(of_.alpha0, k) += of_scale + of_weight / rho;
    }

    /// t = X/rho + s - z + k2 (log q0 - LSE_d) - mass
    void update_transport(std::size_t k) {
        const Step& step = tape_.steps[k];
        const auto& [alpha0, alpha1, alpha2, rho] = tape_.parameters(k);
        const Real strength = alpha0 / rho;
        of_step(of_.rho, k) += half_step_.run(col_sums(t_), alpha2, rho, step.unit_mass, priors_.log_q,
                                              step.log_col_sum, of_log_q, of_step(of_.alpha2, k));
        exp_ = step.t.rowwise() - half_step_.log_marginal.vector().transpose();
        t_ += exponentials(exp_) * half_step_.of_log_sum.vector().asDiagonal();
        of_reward += t_ / rho;
        z_ -= t_;
        s_ = t_;
        Real of_strength = 0;
        const Real prior_weight = regularizer().prior_weight;
        if (prior_weight != 0) of_strength = prior_weight * add_to_priors(prior_weight * strength, t_);
        if (is_separable()) {
            const WorkMatrix S = exponentials_of(tape_.steps[k - 1].s);
            regularizer().separable->derivative(exp_.data(), exp_.size());
            of_strength = -product(exp_, t_);
            exp_ = S;
            regularizer().separable->curvature(exp_.data(), exp_.size());
            s_ -= strength * exp_.cwiseProduct(S).cwiseProduct(t_);
        }
        of_step(of_.alpha0, k) += of_strength / rho;
        of_step(of_.rho, k) -= (product(t_, x_) + of_strength * alpha0) / rho / rho;
    }

    /// z is in units of rho.
    void change_rho(std::size_t k) {
        if (k == 1 || tape_.parameter_sets.shared()) return;
        z_ *= tape_.rho_ratio(k);
        const Real moved = product(z_, tape_.steps[k - 1].z);
        of_step(of_.rho, k - 1) += moved / tape_.parameters(k - 1).rho;
        of_step(of_.rho, k) -= moved / tape_.parameters(k).rho;
    }

    const AdmmStateTape<Work>& tape_;
    OfParameters of_;
    const Priors& priors_;
    WorkMatrix x_;          ///< The rewards, or 0 where they are -inf.
    WorkMatrix t_, s_, z_;  ///< Derivatives with respect to the state.
    WorkMatrix exp_;
    HalfStepReverse half_step_;
};

}  // namespace otpool::detail
