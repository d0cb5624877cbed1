// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <utility>
#include <vector>

#include "otpool/core/matrix.hpp"

namespace otpool {

/// One of a number of tasks, and which of the workers runs it: no two tasks have the same worker at the same time.
using Task = std::function<void(Index task, Index worker)>;

/// How tasks that do not depend on each other are run:
///
///     workers()               the largest number of tasks at the same time, at least 1
///     for_each(count, task)   task(i, worker) for every i in [0, count), in any order, worker in [0, workers()); returns
///                             when all have ended; tasks do not throw
///
/// Policies: Sequential here; OpenMp in adapter/openmp.hpp and OneTbb in adapter/onetbb.hpp.
template <class P>
concept ExecutionPolicy = requires(const P& policy, Index count, const Task& task) {
    { policy.workers() } -> std::convertible_to<Index>;
    policy.for_each(count, task);
};

/// One task after the other, on the calling thread.
struct Sequential {
    Index workers() const { return 1; }
    void for_each(Index count, const Task& task) const {
        for (Index i = 0; i < count; ++i) task(i, 0);
    }
};

namespace detail {

/// What tasks threw, one place for each, so that they need not wait for each other.
class TaskErrors {
public:
    explicit TaskErrors(Index tasks) : first_(tasks), errors_(static_cast<std::size_t>(tasks)) {}

    /// Runs the task, unless one before it has thrown already.
    void keep(Index task, const auto& run) {
        if (task > first_) return;
        try {
            run();
        } catch (...) {
            errors_[static_cast<std::size_t>(task)] = std::current_exception();
            Index first = first_;
            while (task < first && !first_.compare_exchange_weak(first, task)) {
            }
        }
    }
    void rethrow_first() const {
        for (const std::exception_ptr& error : errors_) {
            if (error) std::rethrow_exception(error);
        }
    }

private:
    std::atomic<Index> first_;
    std::vector<std::exception_ptr> errors_;
};

}  // namespace detail

/// Any execution policy; Sequential by default. What a bag or a batch is cut into depends on its size alone, and sums
/// are taken in the order of the parts, so that every policy gives the same bits.
class Execution {
public:
    Execution() = default;
    template <ExecutionPolicy P>
    Execution(P policy)  // NOLINT(google-explicit-constructor)
        : workers_(std::max<Index>(policy.workers(), 1)) {
        if constexpr (!std::same_as<P, Sequential>) {
            for_each_ = [policy = std::move(policy)](Index count, const Task& task) { policy.for_each(count, task); };
        }
    }

    Index workers() const { return workers_; }

    /// task(i, worker) for every i in [0, count). Throws what the first of the tasks that throw does.
    template <class AnyTask>
    void for_each(Index count, const AnyTask& task) const {
        run(count, std::cref(task));  // a reference, which allocates nothing
    }

private:
    void run(Index count, const Task& task) const {
        if (!for_each_ || count <= 1) return Sequential().for_each(count, task);
        detail::TaskErrors errors(count);
        for_each_(count, [&](Index i, Index worker) { errors.keep(i, [&] { task(i, worker); }); });
        errors.rethrow_first();
    }

    Index workers_ = 1;
    std::function<void(Index, const Task&)> for_each_ = {};
};

namespace detail {

/// The instances of a bag in parts that are worth a task each: of some 2^17 entries, or a hundredth and more of the
/// bag.
class InstanceParts {
public:
    /// `multiple`: of which a part's size shall be one.
    InstanceParts(Index rows, Index cols, Index multiple = 1) : cols_(cols) {
        constexpr Index entries = Index{1} << 17;
        constexpr Index most = 128;
        size_ = std::max({entries / std::max<Index>(rows, 1), (cols + most - 1) / most, Index{1}});
        size_ = (size_ + multiple - 1) / multiple * multiple;
    }

    Index count() const { return (cols_ + size_ - 1) / size_; }
    Index first(Index part) const { return part * size_; }
    Index end(Index part) const { return std::min(first(part) + size_, cols_); }
    Index size(Index part) const { return end(part) - first(part); }

private:
    Index cols_;
    Index size_;
};

}  // namespace detail
}  // namespace otpool
