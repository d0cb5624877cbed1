// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <vector>

#include "otpool/core/any_view.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/parameter_sets.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/problem/priors.hpp"
#include "otpool/solver/steps/admm_duals.hpp"
#include "otpool/solver/steps/admm_step.hpp"
#include "otpool/solver/steps/admm_sweep.hpp"

namespace otpool::detail {

/// The tape of K steps of AdmmSweep, of which nothing is wanted but what the last one pools.
///
/// Memory: 3 (D + N) doubles a step, and D N numbers of Work every eight steps. All else is computed again, which takes
/// less time than memory does.
template <BagScalar Work>
struct AdmmSweepTape {
    AnyView reward, values;  ///< The values are empty where they are the reward.
    Priors priors;
    ParameterSets parameters;
    Real prior_weight = 0;  ///< The regulariser's.
    RealVector top = {};    ///< The highest reward of every feature.
    Real range = 0;         ///< The highest reward less the lowest.
    AdmmDuals<Work> duals = {};
    RealVector mean = {};  ///< What is pooled.

    AdmmSweepTape(const Inspection& problem, const ParameterSets& parameters_, int steps)
        : reward(problem.reward),
          values(problem.values),
          priors(problem.priors),
          parameters(parameters_),
          prior_weight(problem.regularizer.prior_weight),
          top(problem.highest),
          range(problem.range()) {
        const auto all = static_cast<std::size_t>(steps);
        slopes_.reserve(all);
        of_rows_.reserve(3 * all * static_cast<std::size_t>(rows()));
        of_cols_.reserve(3 * all * static_cast<std::size_t>(padded_cols()));
    }

    Index rows() const { return priors.log_p.size(); }
    Index cols() const { return priors.log_q.size(); }
    Index padded_cols() const { return padded(cols()); }
    Index steps() const { return static_cast<Index>(slopes_.size()); }

    /// Keeps the sweep's last step.
    void keep(const AdmmSweep<Work>& sweep) {
        const AdmmStep step = sweep.last_step();
        slopes_.push_back({step.rho, step.transport.slope, step.smooth.slope});
        for (const Real* v : {step.transport.row, step.smooth.row, step.log_row_sum}) {
            of_rows_.insert(of_rows_.end(), v, v + rows());
        }
        for (const Real* v : {step.transport.col, step.smooth.col, step.log_col_sum}) {
            of_cols_.insert(of_cols_.end(), v, v + padded_cols());
        }
    }

    AdmmStep step(Index k) const {
        const Slopes& of_step = slopes_[static_cast<std::size_t>(k)];
        const Real* row = of_rows_.data() + 3 * k * rows();
        const Real* col = of_cols_.data() + 3 * k * padded_cols();
        return {of_step.rho,
                {of_step.transport, row, col},
                {of_step.smooth, row + rows(), col + padded_cols()},
                row + 2 * rows(),
                col + 2 * padded_cols()};
    }

    /// Of all steps but the last, which moves no dual.
    void set_gaps(std::vector<typename AdmmDuals<Work>::Gap>& gaps) const {
        gaps.resize(slopes_.size() - 1);
        for (Index k = 0; k + 1 < steps(); ++k) {
            const AdmmStep step = this->step(k);
            gaps[static_cast<std::size_t>(k)].set(step.transport, step.smooth, rows(), padded_cols(), step.rho);
        }
    }

    /// The largest slope that x has in an exponent.
    Real steepest() const {
        Real largest = 0;
        for (const Slopes& of_step : slopes_) largest = std::max(largest, of_step.transport);
        return largest;
    }

private:
    struct Slopes {
        Real rho, transport, smooth;
    };

    std::vector<Slopes> slopes_;
    std::vector<Real> of_rows_, of_cols_;  ///< Three vectors a step, as AdmmStep has them.
};

}  // namespace otpool::detail
