// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"

namespace otpool::detail {

/// The results of a pass over a kernel.
struct PassResult {
    Buffer<Real> col_potential;  ///< The columns' kernel potentials.
    Buffer<Real> col_penalty;    ///< The columns' potentials / alpha.
    Buffer<Real> log_col_sum;    ///< LSE_d(z_dk + row_potential_d).
    Buffer<Real> log_row_mass;   ///< log sum_k P_dk of the plan with row_potential and col_potential.

    void resize(Index rows, Index cols) {
        log_row_mass.resize(rows);
        for (Buffer<Real>* of_cols : {&col_potential, &col_penalty, &log_col_sum}) of_cols->resize(cols);
    }
};

}  // namespace otpool::detail
