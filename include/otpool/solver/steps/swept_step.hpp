// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <Eigen/Core>

#include "otpool/core/matrix.hpp"

namespace otpool::detail {

/// A view of a step of AdmmSweep, as its reverse needs to know it. What there is one of an instance is padded to whole
/// tiles.
struct SweptStep {
    using View = Eigen::Map<const RealVector>;

    struct Numbers {
        Real rho;                            ///< in units of the first step's
        Real transport_slope, smooth_slope;  ///< of x, in the reward's unit
    };
    Numbers numbers;
    View transport_row, smooth_row;
    View log_row_sum;  ///< LSE_n(smooth_slope x_dn + smooth_col_n)
    View transport_col, smooth_col;
    View log_col_sum;  ///< LSE_d(log T_dn), before the instances' part of the step
};

}  // namespace otpool::detail
