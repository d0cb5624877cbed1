// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// A D x N matrix in double, whose columns are the active instances: a copy's logarithms, or the dual.
class InstanceColumns {
public:
    InstanceColumns() = default;
    InstanceColumns(Index rows, Index cols) : rows_(rows), numbers_(static_cast<std::size_t>(rows * cols), 0) {}

    Real* operator[](Index k) { return numbers_.data() + k * rows_; }
    const Real* operator[](Index k) const { return numbers_.data() + k * rows_; }
    Index rows() const { return rows_; }
    Index cols() const { return rows_ == 0 ? 0 : static_cast<Index>(numbers_.size()) / rows_; }
    std::vector<Real>& numbers() { return numbers_; }
    const std::vector<Real>& numbers() const { return numbers_; }

private:
    Index rows_ = 0;
    std::vector<Real> numbers_;
};

/// log_row_sum_d = LSE_k(columns_dk). Cost: one exp per element.
template <std::same_as<Real> Work = Real>
void log_row_sums_of(const InstanceColumns& columns, Work* log_row_sum, Buffer<Work>& top) {
    const Index rows = columns.rows();
    top.resize(rows);
    std::copy_n(columns[0], rows, top.data());
    for (Index k = 1; k < columns.cols(); ++k) {
        for (Index d = 0; d < rows; ++d) top[d] = (std::max)(top[d], columns[k][d]);
    }
    std::fill_n(log_row_sum, rows, 0);
    for (Index k = 0; k < columns.cols(); ++k) {
        for_each_lanes(rows, [&](Index d, Index count) {
            const auto load = [&](const Work* from) { return load_some(from + d, count, Work(0)); };
            store_some(load(log_row_sum) + bounded_exp(load(columns[k]) - load(top.data())), log_row_sum + d, count);
        });
    }
    for (Index d = 0; d < rows; ++d) log_row_sum[d] = std::log(log_row_sum[d]) + top[d];
}

}  // namespace otpool::detail
