// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <otpool/core/matrix.hpp>
#include <otpool/slots/named_slot_poolings.hpp>
#include <otpool/slots/plasma_alignment.hpp>

// The library's functions of the same names, in double. They are compiled in any_solver.cpp, which has their solver.

namespace otpool_python {

otpool::Matrix<double> sinkhorn_assignment(const otpool::MatrixView<double>& scores, double alpha0, int iterations);
otpool::Matrix<double> ppot_assignment(const otpool::MatrixView<double>& log_probabilities, double rho, double alpha0);
otpool::SoftMoe<double> soft_moe(const otpool::MatrixView<double>& scores);
otpool::PlasmaAlignment<double> plasma_alignment(const otpool::MatrixView<double>& query,
                                                 const otpool::MatrixView<double>& candidate,
                                                 const otpool::PlasmaOptions<double>& options);

}  // namespace otpool_python
