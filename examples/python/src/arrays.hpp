// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <utility>
#include <vector>

#include <otpool/core/error.hpp>
#include <otpool/core/matrix.hpp>

// Arrays of Python as matrices of the library, and back, without copies. An array of shape (N, D) in C order is a D x N matrix
// in column-major memory: the same numbers.

namespace otpool_python {

namespace nb = nanobind;
using otpool::BagScalar;
using otpool::Index;
using otpool::Matrix;
using otpool::MatrixView;
using otpool::Vector;

/// An array in the processor's memory, in C order: of NumPy, or any object with DLPack or the buffer protocol.
template <class Number, int dimensions>
using Array = nb::ndarray<const Number, nb::ndim<dimensions>, nb::c_contig, nb::device::cpu>;
/// (N, D)
template <BagScalar Scalar>
using Rows = Array<Scalar, 2>;
/// (N,)
template <class Number>
using Line = Array<Number, 1>;
/// Where the bags of a batch begin, and where the last one ends: B + 1 numbers.
using Pointers = Line<std::int64_t>;

/// D x N, of an array (N, D), which must outlive the view.
template <BagScalar Scalar>
MatrixView<Scalar> view_of(const Rows<Scalar>& rows) {
    return Eigen::Map<const Matrix<Scalar>>(rows.data(), static_cast<Index>(rows.shape(1)),
                                            static_cast<Index>(rows.shape(0)));
}
/// The same of an array that may be None: an empty view.
template <BagScalar Scalar>
MatrixView<Scalar> view_of(const std::optional<Rows<Scalar>>& rows) {
    return rows ? view_of(*rows) : MatrixView<Scalar>();
}

/// A copy of the array; empty of None.
template <class Number>
Vector<Number> vector_of(const std::optional<Line<Number>>& line) {
    if (!line) return {};
    return Eigen::Map<const Vector<Number>>(line->data(), static_cast<Index>(line->size()));
}
inline std::vector<std::int64_t> offsets_of(const Pointers& ptr) { return {ptr.data(), ptr.data() + ptr.size()}; }

/// A NumPy array of this shape over the numbers of an Eigen object, which moves into it.
template <class Numbers>
nb::object array_of(Numbers numbers, std::initializer_list<Index> shape) {
    using Number = typename Numbers::Scalar;
    auto* owned = new Numbers(std::move(numbers));
    const nb::capsule owner(owned, [](void* given) noexcept { delete static_cast<Numbers*>(given); });
    const std::vector<std::size_t> sizes(shape.begin(), shape.end());
    return nb::cast(nb::ndarray<nb::numpy, Number>(owned->data(), sizes.size(), sizes.data(), owner));
}
/// (N, D), of a matrix D x N.
template <class Scalar>
nb::object array_of(Matrix<Scalar> matrix) {
    const Index rows = matrix.rows();
    const Index cols = matrix.cols();
    return array_of(std::move(matrix), {cols, rows});
}
/// (N,)
template <class Scalar>
nb::object array_of(Vector<Scalar> vector) {
    const Index size = vector.size();
    return array_of(std::move(vector), {size});
}

/// run(), which must not touch Python objects, while other threads may run Python.
auto without_gil(const auto& run) {
    const nb::gil_scoped_release released;
    return run();
}

}  // namespace otpool_python
