#include <Eigen/Core>
#include <Eigen/SparseCore>
#include <type_traits>
#include <utility>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "support/catch.hpp"

using otpool::Index;
using otpool::Matrix;
using otpool::MatrixView;
using otpool::Vector;

static_assert(otpool::BagScalar<float> && otpool::BagScalar<double>);
static_assert(!otpool::BagScalar<int> && !otpool::BagScalar<long double>);
static_assert(std::is_convertible_v<const Matrix<float>&, MatrixView<float>>);
static_assert(std::is_convertible_v<Eigen::Map<const Matrix<float>>, MatrixView<float>>);
static_assert(std::is_convertible_v<Eigen::Ref<const Matrix<double>>, MatrixView<double>>);
static_assert(!std::is_convertible_v<Eigen::SparseMatrix<float>, MatrixView<float>>);
static_assert(!std::is_convertible_v<float, MatrixView<float>>);

namespace matrix_view_test {

/// Entry (d, n) is 100 d + n.
template <class Plain>
Plain numbered(Index rows, Index cols) {
    Plain matrix(rows, cols);
    for (Index n = 0; n < cols; ++n) {
        for (Index d = 0; d < rows; ++d) matrix(d, n) = static_cast<typename Plain::Scalar>(100 * d + n);
    }
    return matrix;
}

/// Whether the view is rows x cols and its entry (d, n), however it is reached, is the number at address(d, n).
template <class Scalar, class Address>
bool looks_at(const MatrixView<Scalar>& view, Index rows, Index cols, const Address& address) {
    if (view.rows() != rows || view.cols() != cols) return false;
    const auto matrix = view.matrix();
    if (matrix.rows() != rows || matrix.cols() != cols) return false;
    for (Index n = 0; n < cols; ++n) {
        const Vector<double> column = view.col(n);
        if (column.size() != rows) return false;
        for (Index d = 0; d < rows; ++d) {
            const Scalar* expected = address(d, n);
            if (&matrix.coeffRef(d, n) != expected || view(d, n) != *expected) return false;
            if (column[d] != static_cast<double>(*expected)) return false;
        }
    }
    return true;
}

template <class Scalar, class Derived>
bool holds(const MatrixView<Scalar>& view, const Eigen::MatrixBase<Derived>& values) {
    return view.rows() == values.rows() && view.cols() == values.cols() && view.matrix() == values;
}

TEMPLATE_TEST_CASE("Whatever has memory is viewed where it is", "", float, double) {
    using Scalar = TestType;
    using RowMajor = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    using View = MatrixView<Scalar>;
    auto matrix = numbered<Matrix<Scalar>>(4, 6);
    const auto entry = [&](Index d, Index n) { return &matrix(d, n); };

    SECTION("a matrix, const or not") {
        CHECK(looks_at(View(matrix), 4, 6, entry));
        CHECK(looks_at(View(std::as_const(matrix)), 4, 6, entry));
    }
    SECTION("a Ref") {
        const Eigen::Ref<Matrix<Scalar>> ref(matrix);
        const Eigen::Ref<const Matrix<Scalar>> const_ref(matrix);
        CHECK(looks_at(View(ref), 4, 6, entry));
        CHECK(looks_at(View(const_ref), 4, 6, entry));
    }
    SECTION("a block, a row, a column, the diagonal") {
        CHECK(looks_at(View(matrix.block(1, 2, 2, 3)), 2, 3, [&](Index d, Index n) { return &matrix(1 + d, 2 + n); }));
        CHECK(looks_at(View(matrix.rightCols(2)), 4, 2, [&](Index d, Index n) { return &matrix(d, 4 + n); }));
        CHECK(looks_at(View(matrix.row(2)), 1, 6, [&](Index, Index n) { return &matrix(2, n); }));
        CHECK(looks_at(View(matrix.col(3)), 4, 1, [&](Index d, Index) { return &matrix(d, 3); }));
        CHECK(looks_at(View(matrix.diagonal()), 4, 1, [&](Index d, Index) { return &matrix(d, d); }));
    }
    SECTION("a transpose, and a block of it") {
        CHECK(looks_at(View(matrix.transpose()), 6, 4, [&](Index d, Index n) { return &matrix(n, d); }));
        CHECK(looks_at(View(matrix.transpose().middleCols(1, 2)), 6, 2,
                       [&](Index d, Index n) { return &matrix(1 + n, d); }));
        CHECK(looks_at(View(matrix.block(1, 2, 2, 3).transpose()), 3, 2,
                       [&](Index d, Index n) { return &matrix(1 + n, 2 + d); }));
    }
    SECTION("a row-major matrix, its block, its transpose") {
        const auto rows = numbered<RowMajor>(4, 6);
        CHECK(looks_at(View(rows), 4, 6, [&](Index d, Index n) { return &rows(d, n); }));
        CHECK(looks_at(View(rows.block(1, 2, 2, 3)), 2, 3, [&](Index d, Index n) { return &rows(1 + d, 2 + n); }));
        CHECK(looks_at(View(rows.transpose()), 6, 4, [&](Index d, Index n) { return &rows(n, d); }));
    }
    SECTION("fixed-size matrices, vectors and row vectors") {
        const auto fixed = numbered<Eigen::Matrix<Scalar, 3, 5>>(3, 5);
        CHECK(looks_at(View(fixed), 3, 5, [&](Index d, Index n) { return &fixed(d, n); }));
        const auto fixed_rows = numbered<Eigen::Matrix<Scalar, 3, 5, Eigen::RowMajor>>(3, 5);
        CHECK(looks_at(View(fixed_rows), 3, 5, [&](Index d, Index n) { return &fixed_rows(d, n); }));
        const Vector<Scalar> vector = Vector<Scalar>::LinSpaced(5, 1, 5);
        CHECK(looks_at(View(vector), 5, 1, [&](Index d, Index) { return &vector[d]; }));
        const Eigen::Matrix<Scalar, 1, Eigen::Dynamic> row_vector = vector.transpose();
        CHECK(looks_at(View(row_vector), 1, 5, [&](Index, Index n) { return &row_vector[n]; }));
    }
    SECTION("arrays") {
        const Eigen::Array<Scalar, Eigen::Dynamic, Eigen::Dynamic> array = matrix.array();
        CHECK(looks_at(View(array), 4, 6, [&](Index d, Index n) { return &array(d, n); }));
    }
    SECTION("maps of any stride") {
        std::vector<Scalar> memory(200);
        for (std::size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<Scalar>(i);
        const Scalar* data = memory.data();
        const Eigen::Map<const Matrix<Scalar>> map(data, 4, 6);
        CHECK(looks_at(View(map), 4, 6, [&](Index d, Index n) { return data + d + 4 * n; }));
        const Eigen::Map<const Matrix<Scalar>, 0, Eigen::OuterStride<>> outer(data, 4, 6, Eigen::OuterStride<>(9));
        CHECK(looks_at(View(outer), 4, 6, [&](Index d, Index n) { return data + d + 9 * n; }));
        using AnyStride = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
        const Eigen::Map<const Matrix<Scalar>, 0, AnyStride> strided(data, 4, 6, AnyStride(30, 2));
        CHECK(looks_at(View(strided), 4, 6, [&](Index d, Index n) { return data + 2 * d + 30 * n; }));
        const Eigen::Map<const RowMajor, 0, AnyStride> rows(data, 4, 6, AnyStride(30, 3));
        CHECK(looks_at(View(rows), 4, 6, [&](Index d, Index n) { return data + 30 * d + 3 * n; }));
        CHECK(looks_at(View(strided.block(1, 2, 2, 3)), 2, 3,
                       [&](Index d, Index n) { return data + 2 * (1 + d) + 30 * (2 + n); }));
    }
}

TEMPLATE_TEST_CASE("The row-major (N, D) array of NumPy is a D x N bag without a copy", "", float, double) {
    const Index N = 5;
    const Index D = 3;
    std::vector<TestType> numpy(static_cast<std::size_t>(N * D));
    for (std::size_t i = 0; i < numpy.size(); ++i) numpy[i] = static_cast<TestType>(i);
    const auto address = [&](Index d, Index n) { return numpy.data() + n * D + d; };
    CHECK(looks_at(MatrixView<TestType>(Eigen::Map<const Matrix<TestType>>(numpy.data(), D, N)), D, N, address));
    using RowMajor = Eigen::Matrix<TestType, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const Eigen::Map<const RowMajor> as_numpy(numpy.data(), N, D);
    CHECK(looks_at(MatrixView<TestType>(as_numpy.transpose()), D, N, address));
}

TEMPLATE_TEST_CASE("What is written to the memory is seen through the view", "", float, double) {
    auto matrix = numbered<Matrix<TestType>>(2, 3);
    const MatrixView<TestType> view = matrix;
    matrix(1, 2) = -7;
    CHECK(view(1, 2) == -7);
    CHECK(view.matrix()(1, 2) == -7);
    CHECK(view.col(2)[1] == -7);
}

TEMPLATE_TEST_CASE("A view of an expression or a temporary keeps what it views", "", float, double) {
    using Scalar = TestType;
    const auto matrix = numbered<Matrix<Scalar>>(4, 6);

    SECTION("expressions") {
        CHECK(holds(MatrixView<Scalar>(2 * matrix), Matrix<Scalar>(2 * matrix)));
        CHECK(holds(MatrixView<Scalar>(matrix * matrix.transpose()), Matrix<Scalar>(matrix * matrix.transpose())));
        CHECK(holds(MatrixView<Scalar>(matrix.array().square()), Matrix<Scalar>(matrix.array().square())));
        CHECK(holds(MatrixView<Scalar>(Matrix<Scalar>::Constant(2, 3, 5)), Matrix<Scalar>::Constant(2, 3, 5)));
        CHECK(holds(MatrixView<Scalar>((2 * matrix).transpose()), Matrix<Scalar>(2 * matrix.transpose())));
        CHECK(holds(MatrixView<Scalar>(matrix.rowwise().reverse()), Matrix<Scalar>(matrix.rowwise().reverse())));
        CHECK(holds(MatrixView<Scalar>(matrix.template cast<int>().template cast<Scalar>()), matrix));
    }
    SECTION("temporaries, after the statement that made them") {
        const MatrixView<Scalar> dynamic = numbered<Matrix<Scalar>>(4, 6);
        CHECK(holds(dynamic, matrix));
        const MatrixView<Scalar> fixed = numbered<Eigen::Matrix<Scalar, 4, 6>>(4, 6);
        CHECK(holds(fixed, matrix));
        const MatrixView<Scalar> rows =
            numbered<Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>(4, 6);
        CHECK(holds(rows, matrix));
        const MatrixView<Scalar> array = numbered<Eigen::Array<Scalar, Eigen::Dynamic, Eigen::Dynamic>>(4, 6);
        CHECK(holds(array, matrix));
        const MatrixView<Scalar> vector = Vector<Scalar>(matrix.col(1));
        CHECK(holds(vector, matrix.col(1)));
    }
    SECTION("a matrix that is moved in is not copied") {
        auto moved = numbered<Matrix<Scalar>>(4, 6);
        const Scalar* data = moved.data();
        const MatrixView<Scalar> view = std::move(moved);
        CHECK(view.matrix().data() == data);
        CHECK(holds(view, matrix));
    }
    SECTION("copies and parts share the storage and outlive the first view") {
        MatrixView<Scalar> part;
        MatrixView<Scalar> copy;
        {
            const MatrixView<Scalar> view = 2 * matrix;
            copy = view;
            part = view.middle_cols(1, 2);
            CHECK(copy.matrix().data() == view.matrix().data());
            CHECK(part.matrix().data() == view.matrix().data() + 4);
        }
        CHECK(holds(copy, Matrix<Scalar>(2 * matrix)));
        CHECK(holds(part, Matrix<Scalar>(2 * matrix.middleCols(1, 2))));
    }
}

TEMPLATE_TEST_CASE("middle_cols is a view of some columns, in any layout", "", float, double) {
    using Scalar = TestType;
    const auto matrix = numbered<Matrix<Scalar>>(4, 6);
    const MatrixView<Scalar> columns = matrix;
    CHECK(looks_at(columns.middle_cols(2, 3), 4, 3, [&](Index d, Index n) { return &matrix(d, 2 + n); }));
    CHECK(looks_at(columns.middle_cols(2, 3).middle_cols(1, 2), 4, 2,
                   [&](Index d, Index n) { return &matrix(d, 3 + n); }));
    const MatrixView<Scalar> transposed = matrix.transpose();
    CHECK(looks_at(transposed.middle_cols(1, 3), 6, 3, [&](Index d, Index n) { return &matrix(1 + n, d); }));
    const MatrixView<Scalar> none = columns.middle_cols(6, 0);
    CHECK(none.rows() == 4);
    CHECK(none.cols() == 0);
    CHECK(none.empty());
}

TEST_CASE("An empty view is one without rows or columns") {
    const MatrixView<double> nothing;
    CHECK(nothing.empty());
    CHECK(nothing.rows() == 0);
    CHECK(nothing.cols() == 0);
    CHECK(nothing.matrix().size() == 0);
    CHECK(MatrixView<double>(Matrix<double>(3, 0)).empty());
    CHECK(MatrixView<double>(Matrix<double>(0, 3)).empty());
    CHECK_FALSE(MatrixView<double>(Matrix<double>(1, 1)).empty());
}

}  // namespace matrix_view_test
