// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/compiler.hpp"  // before Eigen, which prints pages of errors, too

#include <Eigen/Core>

#include <concepts>
#include <memory>
#include <type_traits>
#include <utility>

#include "otpool/core/error.hpp"

namespace otpool {

using Eigen::Index;

/// A column vector.
template <class Scalar>
using Vector = Eigen::Matrix<Scalar, Eigen::Dynamic, 1>;

/// A matrix in column-major memory.
template <class Scalar>
using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::ColMajor>;

/// The type of a bag's numbers: float or double.
template <class Scalar>
concept BagScalar = std::same_as<Scalar, float> || std::same_as<Scalar, double>;

/// Vectors per feature or instance are always double. The exponents of a plan are differences of numbers as large as
/// the reward's spread over alpha0: at small alpha0, float would leave no digits of them.
using Real = double;
using RealVector = Vector<Real>;  ///< A vector of double.
using RealMatrix = Matrix<Real>;  ///< A matrix of double.

namespace detail {

/// Whether the rising column numbers [first, last), at least one, have no gap.
inline bool are_consecutive(const Index* first, const Index* last) { return *(last - 1) - *first == last - first - 1; }

}  // namespace detail

/// A read-only D x N matrix of any memory layout. Bags, rewards and values are passed as views.
///
/// Every Eigen expression over `Scalar` converts to a view. A matrix in memory (Matrix, Map, Ref, Block, Transpose, row
/// or column major) is not copied and must outlive the view. A temporary matrix or an expression (a sum, a product) is
/// evaluated once into storage that the view and its copies share. A row-major (N, D) array of NumPy or PyTorch is
/// `Map<const MatrixXf>(data, D, N)`.
///
/// Copying costs O(1). Concurrent reads are safe.
template <BagScalar Scalar>
class MatrixView {
public:
    /// The view as an Eigen expression.
    using Strided = Eigen::Map<const Matrix<Scalar>, Eigen::Unaligned, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;

    MatrixView() = default;

    /// Views a matrix in memory; evaluates any other expression into storage of the view.
    template <class Derived>
    MatrixView(const Eigen::DenseBase<Derived>& matrix) {  // NOLINT(google-explicit-constructor)
        static_assert(std::same_as<typename Derived::Scalar, Scalar>,
                      "a view does not convert scalars: pass matrix.template cast<Scalar>()");
        if constexpr ((int(Derived::Flags) & int(Eigen::DirectAccessBit)) != 0) {
            look_at(matrix.derived());
        } else {
            own(Matrix<Scalar>(matrix));
        }
    }

    /// Takes over a temporary matrix.
    template <class Derived>
    MatrixView(Eigen::PlainObjectBase<Derived>&& matrix) {  // NOLINT(google-explicit-constructor)
        static_assert(std::same_as<typename Derived::Scalar, Scalar>,
                      "a view does not convert scalars: pass matrix.template cast<Scalar>()");
        own(Matrix<Scalar>(std::move(matrix.derived())));
    }
    /// Copies a constant temporary, as Eigen's eval() returns.
    template <class Derived>
    MatrixView(const Eigen::PlainObjectBase<Derived>&& matrix)  // NOLINT(google-explicit-constructor)
        : MatrixView(Matrix<typename Derived::Scalar>(matrix)) {}

    Index rows() const { return rows_; }                     ///< D
    Index cols() const { return cols_; }                     ///< N
    bool empty() const { return rows_ == 0 || cols_ == 0; }  ///< Whether D or N is 0.
    /// Entry (row, col); not checked.
    Scalar operator()(Index row, Index col) const { return data_[row * row_stride_ + col * col_stride_]; }

    /// Entry (row, col) is data()[row * row_stride() + col * col_stride()].
    const Scalar* data() const { return data_; }
    Index row_stride() const { return row_stride_; }  ///< From one row to the next, in numbers.
    Index col_stride() const { return col_stride_; }  ///< From one column to the next, in numbers.
    /// The matrix that the view owns, if any, otherwise null. Holding it keeps the numbers alive.
    std::shared_ptr<const void> storage() const { return storage_; }

    /// The whole view as an Eigen expression.
    Strided matrix() const { return {data_, rows_, cols_, {col_stride_, row_stride_}}; }

    /// Column `col` as a vector of Real.
    auto col(Index col) const {
        return Eigen::Map<const Vector<Scalar>, Eigen::Unaligned, Eigen::InnerStride<>>(
                   data_ + col * col_stride_, rows_, Eigen::InnerStride<>(row_stride_))
            .template cast<Real>();
    }

    /// Whether the numbers of a column are consecutive in memory.
    bool has_contiguous_cols() const { return row_stride_ == 1; }
    /// Whether there is also no gap between columns.
    bool is_contiguous() const { return has_contiguous_cols() && col_stride_ == rows_; }

    /// Whether no entry is infinite or NaN. Cost: one pass.
    bool all_finite() const {
        const bool joined = is_contiguous();
        for (Index n = 0; n < (joined ? 1 : cols_); ++n) {
            const Scalar* x = data_ + n * col_stride_;
            const Index count = joined ? rows_ * cols_ : rows_;
            // x - x is 0 or NaN, and so is the sum. Several sums, because each addition waits for the last one.
            constexpr Index abreast = 16;
            Scalar sums[abreast] = {};  // NOLINT(modernize-avoid-c-arrays)
            Index i = 0;
            if (row_stride_ == 1) {
                for (; i + abreast <= count; i += abreast) {
                    for (Index j = 0; j < abreast; ++j) sums[j] += x[i + j] - x[i + j];
                }
            }
            for (; i < count; ++i) sums[0] += x[i * row_stride_] - x[i * row_stride_];
            for (const Scalar sum : sums) {
                if (sum != 0) return false;
            }
        }
        return true;
    }

    /// Column `col`: in place if its numbers are consecutive in memory, otherwise copied to `scratch` (rows() numbers).
    const Scalar* contiguous_col(Index col, Scalar* scratch) const {
        const Scalar* first = data_ + col * col_stride_;
        if (row_stride_ == 1) return first;
        for (Index row = 0; row < rows_; ++row) scratch[row] = first[row * row_stride_];
        return scratch;
    }

    /// The columns [first, first + count), sharing this view's memory.
    MatrixView middle_cols(Index first, Index count) const {
        MatrixView part = *this;
        part.data_ += first * col_stride_;
        part.cols_ = count;
        return part;
    }

private:
    template <class Derived>
    void look_at(const Derived& matrix) {
        data_ = matrix.data();
        rows_ = matrix.rows();
        cols_ = matrix.cols();
        row_stride_ = Derived::IsRowMajor ? matrix.outerStride() : matrix.innerStride();
        col_stride_ = Derived::IsRowMajor ? matrix.innerStride() : matrix.outerStride();
    }

    void own(Matrix<Scalar>&& matrix) {
        storage_ = std::make_shared<const Matrix<Scalar>>(std::move(matrix));
        look_at(*storage_);
    }

    const Scalar* data_ = nullptr;
    Index rows_ = 0;
    Index cols_ = 0;
    Index row_stride_ = 1;
    Index col_stride_ = 0;
    std::shared_ptr<const Matrix<Scalar>> storage_;
};

}  // namespace otpool
