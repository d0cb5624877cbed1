// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/gradient/reverse/marginal_shift.hpp"
#include "otpool/gradient/reverse/plan_cotangent.hpp"
#include "otpool/gradient/reverse/trajectory.hpp"
#include "otpool/gradient/step_parameters.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/problem/priors.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/bregman_admm.hpp"
#include "otpool/solver/steps/admm_marginal.hpp"
#include "otpool/solver/steps/admm_state.hpp"
#include "otpool/solver/steps/iterations.hpp"

namespace otpool::detail {

/// K steps of BregmanAdmm and their reverse, of any regulariser, dual step and readout, in units of rho: z = Z/rho,
/// t = log T, s = log S, a0 = alpha0/rho. A step is
///
///     t = (X/rho + s - z)     + k2 (log q0 - LSE_d(.)) - mass,   of Quadratic's (.) - 2 a0 S
///     s = (z + t) / (1 + a0)  + k1 (log p0 - LSE_n(.)) - mass,   of Quadratic's without a0
///     z = z + h(t - s)
///
/// and the plan is S times the mass that minimises the objective along it.
///
/// Memory: 3 D N numbers a step (t, s and z after it), and three D x N cotangents in the reverse, whose cost is five
/// exps an element and step.
template <BagScalar Scalar, Regularizer R>
class AdmmStateTrajectory {
public:
    /// `parameters`: of all steps, or one set for each of options.iterations.
    AdmmStateTrajectory(const BregmanAdmm& solver, const UotProblem<Scalar, R>& problem,
                        const std::vector<StepParameters>& parameters)
        : dual_step_(solver.dual_step), priors_(problem), parameters_(parameters) {
        const auto final_problem = with_parameters(problem, parameters_.back());
        AdmmState<Scalar, R> state(with_parameters(problem, parameters_.front()), parameters_.front().rho);
        const auto keep_state = [&] {
            steps_.push_back({state.log_transport(), state.log_smooth(), state.dual(), state.unit_mass()});
        };
        keep_state();
        const Observer none;
        Iterations iterations(solver.options, tolerance_or_default<Scalar>(solver.options), 0, none);
        for (std::size_t k = 0; iterations.again(); ++k) {
            if (k > 0 && k < parameters_.size()) {
                state.set_parameters(with_parameters(problem, parameters_[k]), parameters_[k].rho);
            }
            state.update_transport();
            state.update_smooth();
            state.update_dual(dual_step_);
            keep_state();
            const double residual = state.residual();
            iterations.record(residual, state.attainable());
        }
        solution = state.solution(final_problem);
        iterations.report(solution);
        check_mass_range(solution);
    }

    Solution<Scalar, R> solution;

    /// `found`: the solution.
    template <class Readout>
    void add_to(BagGradient<Scalar>& gradient, const Solution<Scalar, R>& found, const Readout& readout,
                const RealVector& dL_dy) const {
        const PlanCotangent cotangent = pull_back(readout, found, dL_dy, gradient);
        Reverse reverse(*this, found, gradient);
        reverse.plan(cotangent);
        for (std::size_t k = steps_.size(); --k > 0;) {
            reverse.update_dual(k);
            reverse.update_smooth(k);
            reverse.update_transport(k);
            reverse.begin(k);
        }
        reverse.finish();
    }

private:
    static constexpr bool quadratic = std::same_as<R, Quadratic>;
    static constexpr bool relative = std::same_as<R, RelativeEntropy>;

    /// The state after a step; steps_[0] is the one before the first.
    struct Step {
        RealMatrix t, s, z;
        bool unit_mass;
    };

    const StepParameters& parameters(std::size_t k) const { return parameters_[std::min(k, parameters_.size()) - 1]; }
    /// rho of step k - 1 over that of step k: z is in units of it.
    Real rho_ratio(std::size_t k) const { return k == 1 ? 1 : parameters(k - 1).rho / parameters(k).rho; }

    /// Cotangents of the state, walked backwards; those of the parameters are added up in the gradient.
    class Reverse {
    public:
        Reverse(const AdmmStateTrajectory& trajectory, const Solution<Scalar, R>& found, BagGradient<Scalar>& gradient)
            : trajectory_(trajectory),
              found_(found),
              gradient_(gradient),
              t_(RealMatrix::Zero(trajectory.steps_[0].t.rows(), trajectory.steps_[0].t.cols())),
              s_(t_),
              z_(t_),
              log_p_(RealVector::Zero(t_.rows())),
              log_q_(RealVector::Zero(t_.cols())) {}

        /// log P = s + log m, where with a mass that is not given
        ///     (alpha0 + alpha1 + alpha2) log m = <X, S> - alpha0 <S, s> - alpha1 <r, log(r/p0)> - alpha2 <c, log(c/q0)>
        void plan(const PlanCotangent& cotangent) {
            found_.log_plan.for_each_column([&](Index k, Index n, const RealVector& score) {
                s_.col(k) = cotangent.column(found_.problem.pooled_values().col(n), cotangent.log_weight(score));
            });
            const auto& problem = found_.problem;
            const Real alpha0 = problem.alpha0;
            const Real alpha1 = problem.features.alpha;
            const Real alpha2 = problem.instances.alpha;
            const Real stiffness = alpha0 + alpha1 + alpha2;
            const Step& last = trajectory_.steps_.back();
            if (!last.unit_mass || std::isinf(stiffness) || stiffness == 0) return;

            const Real of_sum = s_.sum() / stiffness;
            const RealMatrix S = last.s.array().exp();
            const RealVector r = S.rowwise().sum();
            const RealVector c = S.colwise().sum();
            const RealVector log_r = r.array().log().matrix() - trajectory_.priors_.log_p;
            const RealVector log_c = c.array().log().matrix() - trajectory_.priors_.log_q;
            Real reward = 0;
            Real entropy = 0;
            for (Index k = 0; k < S.cols(); ++k) {
                const RealVector x = reward_column(k);
                RealVector log_S = last.s.col(k);  // R'(S)
                if constexpr (relative) {
                    log_S -= trajectory_.priors_.log_p;
                    log_S.array() -= trajectory_.priors_.log_q[k];
                }
                reward += x.dot(S.col(k));
                entropy += log_S.dot(S.col(k));
                gradient_.reward.sum().col(instance(k)) += (of_sum * S.col(k)).template cast<Scalar>();
                s_.col(k).array() +=
                    of_sum * S.col(k).array() *
                    (x.array() - alpha0 * (log_S.array() + 1) - alpha1 * (log_r.array() + 1) - alpha2 * (log_c[k] + 1));
            }
            const Real features = r.dot(log_r);
            const Real instances = c.dot(log_c);
            const Real log_m = (reward - alpha0 * entropy - alpha1 * features - alpha2 * instances) / stiffness;
            const std::size_t k = trajectory_.steps_.size() - 1;
            of_step(gradient_.alpha0, k) -= of_sum * (entropy + log_m);
            of_step(gradient_.alpha1, k) -= of_sum * (features + log_m);
            of_step(gradient_.alpha2, k) -= of_sum * (instances + log_m);
            log_p_ += of_sum * (alpha1 + (relative ? alpha0 : 0)) * r;
            log_q_ += of_sum * (alpha2 + (relative ? alpha0 : 0)) * c;
        }

        /// z = z + h(t - s)
        void update_dual(std::size_t k) {
            const Step& step = trajectory_.steps_[k];
            if (trajectory_.dual_step_ == DualStep::scaled) {
                t_ = z_.array() * (-(step.t - step.s).array().abs()).exp();
                s_ -= t_;
            } else {
                t_ = z_.array() * step.t.array().exp();
                s_.array() -= z_.array() * step.s.array().exp();
            }
        }

        /// s = (z + t) / weight + k1 (log p0 - LSE_n) - mass
        void update_smooth(std::size_t k) {
            const Step& step = trajectory_.steps_[k];
            const auto& parameters = trajectory_.parameters(k);
            const Real alpha0 = quadratic ? 0 : parameters.alpha0;
            const Real weight = 1 + alpha0 / parameters.rho;
            const RealMatrix z = trajectory_.steps_[k - 1].z * trajectory_.rho_ratio(k);
            const RealVector log_r = log_row_sums(step.s);
            const RealVector shift = step.s.col(0) - (z + step.t).col(0) / weight;
            const Real scale = weight * parameters.rho;
            marginal_.set(s_.rowwise().sum(), marginal_damping(parameters.alpha1, scale), trajectory_.priors_.log_p,
                          log_r - shift, log_r, step.unit_mass);
            log_p_ += marginal_.of_prior;
            s_.array() += (step.s.colwise() - log_r).array().exp().colwise() * marginal_.of_log_sum.array();
            const Real of_weight = -((z + step.t).cwiseProduct(s_)).sum() / weight / weight;
            t_ += s_ / weight;
            z_ += s_ / weight;
            const Real of_scale =
                pull_back_damping(marginal_.of_damping, parameters.alpha1, scale, of_step(gradient_.alpha1, k));
            of_step(gradient_.rho, k) +=
                of_scale - (alpha0 > 0 ? of_weight * alpha0 / parameters.rho / parameters.rho : 0);
            if (!quadratic) of_step(gradient_.alpha0, k) += of_scale + of_weight / parameters.rho;
        }

        /// t = X/rho + s - z + k2 (log q0 - LSE_d) - mass
        void update_transport(std::size_t k) {
            const Step& step = trajectory_.steps_[k];
            const Step& before = trajectory_.steps_[k - 1];
            const auto& parameters = trajectory_.parameters(k);
            const Real rho = parameters.rho;
            const Real strength = parameters.alpha0 / rho;
            const RealVector log_c = log_row_sums(step.t.transpose());
            RealVector shift(log_c.size());
            for (Index col = 0; col < shift.size(); ++col) {
                Real from =
                    reward_column(col)[0] / rho + before.s(0, col) - before.z(0, col) * trajectory_.rho_ratio(k);
                if (relative) from += strength * (trajectory_.priors_.log_p[0] + trajectory_.priors_.log_q[col]);
                if (quadratic) from -= 2 * strength * std::exp(before.s(0, col));
                shift[col] = step.t(0, col) - from;
            }
            marginal_.set(t_.colwise().sum().transpose(), marginal_damping(parameters.alpha2, rho),
                          trajectory_.priors_.log_q, log_c - shift, log_c, step.unit_mass);
            log_q_ += marginal_.of_prior;
            Real of_strength = 0;
            Real of_inverse_rho = 0;
            s_ = t_;
            for (Index col = 0; col < t_.cols(); ++col) {
                auto T = s_.col(col);
                T.array() += marginal_.of_log_sum[col] * (step.t.col(col).array() - log_c[col]).exp();
                of_inverse_rho += T.dot(reward_column(col));
                gradient_.reward.sum().col(instance(col)) += (T / rho).template cast<Scalar>();
                if constexpr (relative) {
                    of_strength += T.dot(trajectory_.priors_.log_p) + T.sum() * trajectory_.priors_.log_q[col];
                    log_p_ += strength * T;
                    log_q_[col] += strength * T.sum();
                }
            }
            z_ -= s_;
            if constexpr (quadratic) {
                const RealMatrix S = before.s.array().exp();
                of_strength -= 2 * S.cwiseProduct(s_).sum();
                s_.array() *= 1 - 2 * strength * S.array();
            }
            of_step(gradient_.alpha0, k) += of_strength / rho;
            of_step(gradient_.rho, k) +=
                pull_back_damping(marginal_.of_damping, parameters.alpha2, rho, of_step(gradient_.alpha2, k)) -
                (of_inverse_rho + of_strength * parameters.alpha0) / rho / rho;
        }

        /// z is in units of rho.
        void begin(std::size_t k) {
            if (k == 1 || trajectory_.parameters_.size() == 1) return;
            const Real ratio = trajectory_.rho_ratio(k);
            const Real moved = z_.cwiseProduct(trajectory_.steps_[k - 1].z).sum() * ratio;
            of_step(gradient_.rho, k - 1) += moved / trajectory_.parameters(k - 1).rho;
            of_step(gradient_.rho, k) -= moved / trajectory_.parameters(k).rho;
            z_ *= ratio;
        }

        /// s = log p0 + log q0 before the first step.
        void finish() {
            log_p_ += s_.rowwise().sum();
            log_q_ += s_.colwise().sum().transpose();
            add_prior_gradients(trajectory_.priors_, log_p_, log_q_, gradient_);
        }

    private:
        /// The entry of step k, which is from 1 here.
        static Real& of_step(auto& parameter, std::size_t k) { return detail::of_step(parameter, k - 1); }

        Index instance(Index k) const { return trajectory_.priors_.active[static_cast<std::size_t>(k)]; }
        auto reward_column(Index k) const { return found_.problem.reward.col(instance(k)); }

        const AdmmStateTrajectory& trajectory_;
        const Solution<Scalar, R>& found_;
        BagGradient<Scalar>& gradient_;
        RealMatrix t_, s_, z_;
        RealVector log_p_, log_q_;
        MarginalCotangents marginal_;
    };

    DualStep dual_step_;
    Priors priors_;
    std::vector<StepParameters> parameters_;
    std::vector<Step> steps_;
};

}  // namespace otpool::detail
