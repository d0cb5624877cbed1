// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <concepts>

#include "otpool/core/buffer.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/exponential_range.hpp"
#include "otpool/kernel/kernel_blocks.hpp"
#include "otpool/kernel/kernel_pass.hpp"
#include "otpool/kernel/log_domain_kernel.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// Scaling on exponentials (KernelBlocks) instead of in the log domain:
///
///     M_dk = exp(z_dk + F_d + G_k),  F, G the absorbed potentials;  u = exp(f - F),  v = exp(g - G)
///     LSE_d(z_dk + f_d) = log <M_k, u> - G_k,     LSE_k(z_dk + g_k) = log (M v)_d - F_d
///
/// Both half steps are taken while a block of columns is in cache. If the scalar's range does not suffice, passes
/// return false, and LogDomainKernel has to take over.
template <BagScalar Work = Real>
class AbsorbedKernel {
public:
    /// Views the kernel.
    void set(const ScaledReward& kernel, const Execution& execution) { pass_.set(kernel, execution); }

    /// log_row_sum_d <- LSE_k(z_dk + col_potential_k). Returns whether the range sufficed. Also pools `values`, if
    /// given, with the weights exp(z_dk + col_potential_k), as KernelPass does. Cost: one exp per element, one pass.
    bool log_row_sums(const Real* col_potential, Real* log_row_sum, const AnyView* values = nullptr) {
        std::fill_n(log_row_sum, blocks().rows(), 0);
        if (!blocks().absorb(log_row_sum, col_potential)) return false;
        std::fill_n(pass_.v.data(), blocks().cols(), Work(1));
        if (!pass_([](const Block&) { return true; }, values)) return false;
        take_logarithm(log_row_sum);
        return true;
    }

    /// As LogDomainKernel::sweep(), but starts from the columns' potential in `result`. Returns whether the range
    /// sufficed. Also pools `values`, if given, with the resulting plan.
    bool sweep(const Real* row_potential, const Side& columns, PassResult& result, const AnyView* values = nullptr) {
        const auto in_range = [&] {
            return set_scaling(row_potential, blocks().row_potential().data(), blocks().rows(), pass_.u.data()) &&
                   pass_([&](Block& block) { return update_columns(block, columns, result); }, values);
        };
        const bool computed = blocks().computed() && in_range();
        if (!computed && !(blocks().absorb(row_potential, result.col_potential.data()) && in_range())) {
            blocks().forget();
            return false;
        }
        result.log_row_mass.resize(blocks().rows());
        Real* log_row_mass = result.log_row_mass.data();
        take_logarithm(log_row_mass);
        const Work* F = blocks().row_potential().data();
        for (Index d = 0; d < blocks().rows(); ++d) {
            log_row_mass[d] += row_potential[d] - static_cast<Real>(F[d]) * log_2;
        }
        return true;
    }

    bool pooled_finite() const { return pass_.pooled_finite(); }
    void conditional_mean(Real* mean) const { pass_.conditional_mean(mean); }

private:
    using Block = typename KernelPass<Work>::Block;

    KernelBlocks<Work>& blocks() { return pass_.blocks; }

    /// The half step of a block's columns; sets v.
    bool update_columns(Block& block, const Side& columns, PassResult& result) {
        const bool may_absorb = !blocks().computed();
        Work* sum = pass_.sum_over_rows(block);
        if (sum == nullptr && may_absorb) {
            blocks().absorb_highest(block, blocks().row_potential());  // all of it, as u is 1 while M may change
            sum = pass_.sum_over_rows(block);
        }
        if (sum == nullptr) return false;
        log_of_normal(sum, block.count, sum);
        const Index first = block.first;
        const Work* G = blocks().col_potential().data() + first;
        Real* log_col_sum = result.log_col_sum.data() + first;
        Real* potential = result.col_potential.data() + first;
        for (Index i = 0; i < block.count; ++i) {
            log_col_sum[i] = static_cast<Real>(sum[i]) - static_cast<Real>(G[i]) * log_2;
        }
        columns.half_steps(first, block.count, log_col_sum, potential, result.col_penalty.data() + first);
        const auto in_range = [&] { return set_scaling(potential, G, block.count, pass_.v.data() + first); };
        return in_range() || (may_absorb && blocks().absorb_columns(block, potential) && in_range());
    }

    /// log_mass <- log M v, after a pass.
    void take_logarithm(Real* log_mass) { log_of_normal(pass_.row_mass(), blocks().rows(), log_mass); }

    KernelPass<Work> pass_;
};

}  // namespace otpool::detail
