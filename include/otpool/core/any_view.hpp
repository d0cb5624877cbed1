// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <concepts>
#include <memory>

#include "otpool/core/matrix.hpp"

namespace otpool::detail {

/// A MatrixView of float or double behind one type, so that code that reads a bag is compiled once for both.
///
/// Copying costs O(1) and shares the view's memory. Concurrent reads are safe.
class AnyView {
public:
    AnyView() = default;
    template <BagScalar Scalar>
    explicit(false) AnyView(const MatrixView<Scalar>& view)
        : data_(reinterpret_cast<const char*>(view.data())),
          size_of_number_(sizeof(Scalar)),
          rows_(view.rows()),
          cols_(view.cols()),
          row_stride_(view.row_stride()),
          col_stride_(view.col_stride()),
          storage_(view.storage()),
          copy_to_float_(&copy<Scalar, float>),
          copy_to_double_(&copy<Scalar, double>) {}

    Index rows() const { return rows_; }
    Index cols() const { return cols_; }
    bool empty() const { return rows_ == 0 || cols_ == 0; }
    bool is_float() const { return size_of_number_ == sizeof(float); }
    bool has_contiguous_cols() const { return row_stride_ == 1; }
    /// Whether there is also no gap between columns.
    bool is_contiguous() const { return has_contiguous_cols() && col_stride_ == rows_; }

    double operator()(Index row, Index col) const {
        double number = 0;
        copy_to_double_(at(row, col), 1, 1, &number);
        return number;
    }

    /// Column `col` in place if its numbers are consecutive and of this type, otherwise null.
    template <BagScalar Number>
    const Number* in_place(Index col) const {
        if (size_of_number_ != sizeof(Number) || !has_contiguous_cols()) return nullptr;
        return reinterpret_cast<const Number*>(at(0, col));
    }

    /// Column `col`: in place if possible, otherwise converted into `scratch` (rows() numbers).
    template <BagScalar Number>
    const Number* column(Index col, Number* scratch) const {
        if (const Number* found = in_place<Number>(col)) return found;
        copy_column(col, scratch);
        return scratch;
    }
    template <BagScalar Number>
    void copy_column(Index col, Number* to) const {
        copier<Number>()(at(0, col), row_stride_, rows_, to);
    }

    /// to_i = matrix(row, cols[i]). `cols` must rise; consecutive ones are fastest.
    template <BagScalar Number>
    void copy_row(Index row, const Index* cols, Index count, Number* to) const {
        if (count > 0 && are_consecutive(cols, cols + count)) {
            copier<Number>()(at(row, cols[0]), col_stride_, count, to);
            return;
        }
        for (Index i = 0; i < count; ++i) copier<Number>()(at(row, cols[i]), 1, 1, to + i);
    }

private:
    template <class Number>
    using Copy = void (*)(const void* from, Index stride, Index count, Number* to);

    template <class Scalar, class Number>
    static void copy(const void* from, Index stride, Index count, Number* to) {
        const Scalar* number = static_cast<const Scalar*>(from);
        if (stride == 1) {
            for (Index i = 0; i < count; ++i) to[i] = static_cast<Number>(number[i]);
        } else {
            for (Index i = 0; i < count; ++i) to[i] = static_cast<Number>(number[i * stride]);
        }
    }

    template <class Number>
    Copy<Number> copier() const {
        if constexpr (std::same_as<Number, float>) {
            return copy_to_float_;
        } else {
            return copy_to_double_;
        }
    }

    const char* at(Index row, Index col) const {
        return data_ + (row * row_stride_ + col * col_stride_) * size_of_number_;
    }

    const char* data_ = nullptr;
    Index size_of_number_ = 0;
    Index rows_ = 0;
    Index cols_ = 0;
    Index row_stride_ = 1;
    Index col_stride_ = 0;
    std::shared_ptr<const void> storage_;
    Copy<float> copy_to_float_ = nullptr;
    Copy<double> copy_to_double_ = nullptr;
};

}  // namespace otpool::detail
