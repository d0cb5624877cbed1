// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"

namespace otpool::detail {

/// A view of slope x_dn + row_d + col_n: log S in AdmmSweep, and log T without the dual. x is the reward minus its
/// feature's highest; columns are padded to whole tiles.
struct LogPlane {
    Real slope = 0;
    const Real* row = nullptr;
    const Real* col = nullptr;
};

/// The same with its numbers.
struct AdmmPlane {
    Real slope = 0;
    Buffer<Real> row, col;

    LogPlane view() const { return {slope, row.data(), col.data()}; }
};

/// A view of a step of AdmmSweep, for its reverse.
struct AdmmStep {
    Real rho = 1;  ///< In units of the first step's.
    LogPlane transport, smooth;
    const Real* log_row_sum = nullptr;  ///< LSE_n(smooth.slope x_dn + smooth.col_n)
    const Real* log_col_sum = nullptr;  ///< LSE_d(log T_dn), before the instances' part of the step
};

}  // namespace otpool::detail
