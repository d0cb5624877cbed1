// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <concepts>

#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/log_domain_kernel.hpp"
#include "otpool/kernel/pass_result.hpp"
#include "otpool/kernel/scaled_reward.hpp"
#include "otpool/problem/side.hpp"

namespace otpool {

using detail::LogDomainKernel;  ///< LogDomainKernel<ScaledReward> is the one to read.
using detail::PassResult;
using detail::ScaledReward;
using detail::Side;

/// A kernel exp(z), stored in any way; SinkhornOver iterates over it. z_dk are the exponents of a ScaledReward, with
/// rows d and columns k; potentials and sums are arrays of one double per row or column.
///
/// - set(reward, execution) comes first and views the reward. The kernel lives in a workspace, so its memory is reused.
/// - log_row_sums(col_potential, out): out_d <- log sum_k exp(z_dk + col_potential_k).
/// - sweep(row_potential, columns, result), where `result` has its sizes and the columns' last potential. For every
///   column k it sets log_col_sum_k <- log sum_d exp(z_dk + row_potential_d) and takes the half step:
///   columns.half_steps(k, 1, ...), or many columns at a time. Then, for the resulting plan, it sets
///   log_row_mass_d <- row_potential_d + log sum_k exp(z_dk + col_potential_k).
///
/// Both return whether all was in the kernel's range. If not, LogDomainKernel takes over for that pass.
template <class K>
concept Kernel = std::default_initializable<K> &&
    requires(K kernel, const ScaledReward& reward, const Execution& execution, const double* potential, double* sums,
             const Side& columns, PassResult& result) {
    kernel.set(reward, execution);
    { kernel.log_row_sums(potential, sums) } -> std::same_as<bool>;
    { kernel.sweep(potential, columns, result) } -> std::same_as<bool>;
};

}  // namespace otpool
