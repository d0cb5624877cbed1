// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <limits>
#include <vector>

#include "otpool/plan/solved_plan.hpp"
#include "otpool/solver/options.hpp"
#include "otpool/solver/solver.hpp"

namespace otpool::detail {

/// Counts iterations, keeps their residuals if asked to, and decides when to stop.
class Iterations {
public:
    Iterations(const AnyRun& run, int default_limit)
        : Iterations(run.options, run.tolerance, default_limit, run.observer) {}
    Iterations(const Options& options, double tolerance, int default_limit, const Observer& observer)
        : fixed_(options.iterations.has_value()),
          keep_history_(options.history),
          limit_(options.iterations.value_or(options.max_iterations.value_or(default_limit))),
          tolerance_(tolerance),
          observer_(observer) {}

    bool again() const { return running_ && count_ < limit_; }
    /// Whether the next iteration is certain to be the last.
    bool is_last() const { return count_ + 1 == limit_; }
    /// Whether the next iteration's residual will be used.
    bool wants_residual() const { return !fixed_ || keep_history_ || observer_ || is_last(); }
    double tolerance() const { return tolerance_; }

    /// Ends an iteration on the problem itself. `attainable`: the least residual that rounding allows.
    void record(double residual, double attainable) {
        count(residual);
        settle(residual, attainable);
        if (status_ != Status::iteration_limit && !fixed_) running_ = false;
        observe();
    }
    /// Ends an iteration on an easier problem on the way, which does not count as converged.
    void record_on_the_way(double residual) {
        count(residual);
        observe();
    }
    /// Judges the returned plan.
    void settle(double residual, double attainable) {
        residual_ = finite(residual);
        if (status_ == Status::stopped) return;
        status_ = residual_ <= tolerance_   ? Status::converged
                  : residual_ <= attainable ? Status::precision_limit
                                            : Status::iteration_limit;
    }
    void skip() { ++count_; }

    Outcome outcome() const { return {status_, count_, residual_, history_}; }

private:
    static double finite(double residual) {
        return residual < (std::numeric_limits<double>::max)() ? residual : (std::numeric_limits<double>::max)();
    }
    void count(double residual) {
        ++count_;
        residual_ = finite(residual);
        if (keep_history_) history_.push_back(residual_);
    }
    void observe() {
        if (!observer_ || !observer_(count_, residual_)) return;
        running_ = false;
        if (status_ == Status::iteration_limit) status_ = Status::stopped;
    }

    bool fixed_;
    bool keep_history_;
    int limit_;
    double tolerance_;
    const Observer& observer_;
    int count_ = 0;
    double residual_ = (std::numeric_limits<double>::max)();
    std::vector<double> history_;
    Status status_ = Status::iteration_limit;
    bool running_ = true;
};

}  // namespace otpool::detail
