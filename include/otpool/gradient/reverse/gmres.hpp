// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <vector>

#include "otpool/core/matrix.hpp"

namespace otpool::detail {

/// Solves A x = b by GMRES without restarts (Saad & Schultz, SIAM J. Sci. Stat. Comput. 7, 1986), for a matrix that is
/// known by its products. `apply(x)` returns A x. Stops where |A x - b| <= tolerance |b|, or after `most` products.
/// Memory: a vector for each product.
template <std::same_as<Real> Work = Real, class Apply>
Vector<Work> gmres(const Apply& apply, const Vector<Work>& b, Work tolerance, int most) {
    const Work size = b.norm();
    if (!(size > 0)) return Vector<Work>::Zero(b.size());
    std::vector<Vector<Work>> basis = {b / size};  // of the Krylov space
    std::vector<Vector<Work>> columns;             // of R in the QR decomposition of the Hessenberg matrix
    std::vector<Work> cosine, sine;                // of the rotations that make Q
    std::vector<Work> right = {size};              // Q^T |b| e_1
    while (static_cast<int>(columns.size()) < most && std::abs(right.back()) > tolerance * size) {
        const std::size_t k = columns.size();
        Vector<Work> next = apply(basis[k]);
        Vector<Work> column = Vector<Work>::Zero(static_cast<Index>(k) + 2);
        for (int pass = 0; pass < 2; ++pass) {  // twice is enough to be orthogonal (Kahan)
            for (std::size_t i = 0; i <= k; ++i) {
                const Work part = basis[i].dot(next);
                column[static_cast<Index>(i)] += part;
                next -= part * basis[i];
            }
        }
        const Work length = next.norm();
        for (std::size_t i = 0; i < k; ++i) {
            const auto at = static_cast<Index>(i);
            const Work upper = column[at];
            column[at] = cosine[i] * upper + sine[i] * column[at + 1];
            column[at + 1] = cosine[i] * column[at + 1] - sine[i] * upper;
        }
        const auto last = static_cast<Index>(k);
        const Work radius = std::hypot(column[last], length);
        if (!(radius > 0)) break;
        cosine.push_back(column[last] / radius);
        sine.push_back(length / radius);
        column[last] = radius;
        right.push_back(-sine[k] * right[k]);
        right[k] *= cosine[k];
        columns.push_back(column);
        if (!(length > 0)) break;  // the space has the solution
        basis.push_back(next / length);
    }
    Vector<Work> x = Vector<Work>::Zero(b.size());
    std::vector<Work> y(columns.size());
    for (std::size_t k = columns.size(); k-- > 0;) {
        Work rest = right[k];
        for (std::size_t j = k + 1; j < columns.size(); ++j) rest -= columns[j][static_cast<Index>(k)] * y[j];
        y[k] = rest / columns[k][static_cast<Index>(k)];
        x += y[k] * basis[k];
    }
    return x;
}

}  // namespace otpool::detail
