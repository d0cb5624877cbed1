// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/matrix.hpp"
#include "otpool/simd/packet.hpp"

namespace otpool::detail {

// Columns of M * (rank-one matrices), M in memory as in packet.hpp: whole registers of rows.

/// A factor row_l + slope_l (value_lj - reference_l) of M_lj, of which value[j] points to a column's values.
template <BagScalar Scalar>
struct SlopedFactor {
    const Scalar* row;
    const Scalar* slope;
    const Scalar* reference;
    const Scalar* const* value;
};

/// sums_j = sum_l M_lj factor_lj
template <BagScalar Scalar>
void sum_with_slope(const Scalar* M, Index lanes, Index items, const SlopedFactor<Scalar>& factor, Scalar* sums) {
    using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
    using P = Packet<Scalar>;
    multiply_transposed(M, lanes, items, factor.row, sums, [factor](const P& row, Index l, Index j) {
        const P excess = psub(ploadu<P>(factor.value[j] + l), ploadu<P>(factor.reference + l));
        return pmadd(ploadu<P>(factor.slope + l), excess, row);
    });
}

/// Rank-one matrices sum_t row_lt col_jt: row of t after t, `lanes` each, and col of t after t, `cols` each.
template <BagScalar Scalar>
struct RankOneSum {
    Index terms, lanes, cols;
    const Scalar* row;
    const Scalar* col;
};

/// `count` columns from the j-th of a block, whose first column is `first` of all:
///
///     Y = M * (sum_t row_t col_t^T) + W * (value - reference),  W = M * (slope col^T), if there are values
template <int count, BagScalar Scalar>
void set_kernel_columns(const Scalar* M, const RankOneSum<Scalar>& sum, Index first, const SlopedFactor<Scalar>& sloped,
                        const Scalar* sloped_col, Index j, Scalar* Y, Scalar* W) {
    using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
    using P = Packet<Scalar>;
    const Index lanes = sum.lanes;
    const Scalar* const of_columns = M + j * lanes;
    const Scalar* const slope = sloped.slope;
    const Scalar* const reference = sloped.reference;
    const Scalar* const* const value = sloped.value;
    for (Index l = 0; l < lanes; l += packet_size<Scalar>) {
        P total[count];  // NOLINT(modernize-avoid-c-arrays): std::array drops the alignment of P, with a warning
        for_each_constant<count>([&](auto c) { total[c] = pset1<P>(Scalar(0)); });
        for (Index t = 0; t < sum.terms; ++t) {
            const P row = ploadu<P>(sum.row + t * lanes + l);
            const Scalar* const col = sum.col + t * sum.cols + first + j;
            for_each_constant<count>([&](auto c) { total[c] = pmadd(row, pset1<P>(col[c]), total[c]); });
        }
        for_each_constant<count>([&](auto c) {
            const P of_kernel = ploadu<P>(of_columns + c * lanes + l);
            P y = pmul(of_kernel, total[c]);
            if (value != nullptr) {
                const P w = pmul(of_kernel, pmul(ploadu<P>(slope + l), pset1<P>(sloped_col[first + j + c])));
                y = pmadd(w, psub(ploadu<P>(value[j + c] + l), ploadu<P>(reference + l)), y);
                pstoreu(W + c * lanes + l, w);
            }
            pstoreu(Y + c * lanes + l, y);
        });
    }
}

}  // namespace otpool::detail
