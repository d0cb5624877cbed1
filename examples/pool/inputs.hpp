#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include <otpool/otpool.hpp>

#include "../support/npy.hpp"
#include "settings.hpp"

namespace pool {

using otpool::Index;
using otpool::Matrix;
using otpool::Vector;
using support::FileError;
using support::NpyFile;

/// The contents of all input files, as the library takes them.
template <otpool::BagScalar Scalar>
struct Inputs {
    Matrix<Scalar> instances;           ///< D x sum N
    Matrix<Scalar> reward;              ///< D x sum N, or empty
    Vector<Scalar> p0;                  ///< D, or empty
    Vector<Scalar> q0;                  ///< sum N, or empty
    std::vector<std::int64_t> offsets;  ///< B + 1

    /// Views of the instances, which must outlive it.
    otpool::Bags<Scalar> bags() const { return {instances, offsets, reward, q0}; }
};

namespace detail {

template <class Value>
std::string printed(Value value) {
    std::ostringstream text;
    text << value;
    return text.str();
}

inline std::string tuple(const std::vector<std::int64_t>& shape) { return support::to_string(shape); }

/// "bag 1, instance 2 (row 7)", with the instance counted in its bag and the row in the file.
inline std::string place(const std::vector<std::int64_t>& offsets, Index row) {
    const auto next = std::upper_bound(offsets.begin(), offsets.end(), row);
    return "bag " + printed(next - offsets.begin() - 1) + ", instance " + printed(row - *(next - 1)) + " (row " +
           printed(row) + ")";
}

inline std::vector<std::int64_t> read_offsets(const Settings& settings, Index instances) {
    if (!settings.ptr) {
        if (instances == 0) throw FileError(settings.input, "bag 0", "empty", "at least one instance");
        return {0, instances};
    }
    NpyFile file(*settings.ptr);
    const Vector<std::int64_t> read = file.vector<std::int64_t>();
    std::vector<std::int64_t> offsets(read.begin(), read.end());
    const auto entry = [](std::size_t b) { return "ptr[" + printed(b) + "]"; };
    const auto require = [&](bool holds, const std::string& field, const std::string& found,
                             const std::string& allowed) {
        if (!holds) throw FileError(file.path(), field, found, allowed);
    };
    require(!offsets.empty(), "shape", tuple(file.shape()), "(B + 1,) for B bags");
    require(offsets[0] == 0, entry(0), printed(offsets[0]), "0");
    for (std::size_t b = 1; b < offsets.size(); ++b) {
        require(offsets[b] >= offsets[b - 1], entry(b), printed(offsets[b]),
                "at least " + entry(b - 1) + " = " + printed(offsets[b - 1]));
    }
    require(offsets.back() == instances, entry(offsets.size() - 1), printed(offsets.back()),
            printed(instances) + ", the number of instances in " + settings.input.string());
    for (std::size_t b = 1; b < offsets.size(); ++b) {
        require(offsets[b] > offsets[b - 1], "bag " + printed(b - 1),
                "empty, as " + entry(b) + " = " + entry(b - 1) + " = " + printed(offsets[b]), "at least one instance");
    }
    return offsets;
}

template <class Scalar>
void check_finite(const NpyFile& file, const Matrix<Scalar>& values, const std::vector<std::int64_t>& offsets) {
    for (Index n = 0; n < values.cols(); ++n) {
        if (values.col(n).allFinite()) continue;
        for (Index d = 0; d < values.rows(); ++d) {
            if (std::isfinite(values(d, n))) continue;
            throw FileError(file.path(), place(offsets, n) + ", feature " + printed(d), printed(values(d, n)),
                            "finite numbers");
        }
    }
}

/// `length` numbers, from an array of shape (length,), (length, 1) or (1, length).
template <class Scalar>
Vector<Scalar> read_numbers(NpyFile& file, Index length, const std::string& meaning) {
    const std::vector<std::int64_t> column = {length, 1};
    const std::vector<std::int64_t> row = {1, length};
    const std::vector<std::int64_t> flat = {length};
    if (file.shape() == flat) return file.template vector<Scalar>();
    if (file.shape() == column || file.shape() == row) return file.template matrix<Scalar>().reshaped();
    throw FileError(file.path(), "shape", tuple(file.shape()), tuple(flat) + ", " + meaning);
}

/// A prior over the features.
template <class Scalar>
Vector<Scalar> read_p0(const std::filesystem::path& path, Index features) {
    NpyFile file(path);
    Vector<Scalar> p0 = read_numbers<Scalar>(file, features, "a number a feature");
    for (Index d = 0; d < features; ++d) {
        if (p0[d] > 0 && std::isfinite(p0[d])) continue;
        throw FileError(path, "feature " + printed(d), printed(p0[d]), "finite numbers above 0");
    }
    const double sum = p0.template cast<double>().sum();
    if (!(std::abs(sum - 1) <= 1e-3)) throw FileError(path, "sum", printed(sum), "1, within 0.001");
    return p0;
}

/// A prior over the instances of every bag, or scores whose softmax becomes one.
template <class Scalar>
Vector<Scalar> read_q0(const std::filesystem::path& path, const std::vector<std::int64_t>& offsets, bool are_scores) {
    NpyFile file(path);
    Vector<Scalar> q0 = read_numbers<Scalar>(file, offsets.back(), "a number an instance");
    for (Index n = 0; n < q0.size(); ++n) {
        if (std::isfinite(q0[n]) && (are_scores || q0[n] >= 0)) continue;
        throw FileError(path, place(offsets, n), printed(q0[n]),
                        are_scores ? "finite numbers" : "finite numbers of at least 0");
    }
    for (std::size_t b = 0; b + 1 < offsets.size(); ++b) {
        auto bag = q0.segment(offsets[b], offsets[b + 1] - offsets[b]);
        if (are_scores) {
            bag = otpool::softmax(Vector<Scalar>(bag));
            continue;
        }
        const double sum = bag.template cast<double>().sum();
        if (!(std::abs(sum - 1) <= 1e-3)) {
            throw FileError(path, "sum of bag " + printed(b), printed(sum), "1, within 0.001");
        }
    }
    return q0;
}

}  // namespace detail

/// Reads and checks all input files. X is already open. Throws FileError.
template <otpool::BagScalar Scalar>
Inputs<Scalar> read_inputs(const Settings& settings, NpyFile& x) {
    Inputs<Scalar> inputs;
    inputs.instances = x.matrix<Scalar>();
    if (inputs.instances.rows() == 0) {
        throw FileError(x.path(), "shape", detail::tuple(x.shape()), "at least one feature");
    }
    inputs.offsets = detail::read_offsets(settings, inputs.instances.cols());
    detail::check_finite(x, inputs.instances, inputs.offsets);
    if (settings.reward) {
        NpyFile file(*settings.reward);
        if (file.shape() != x.shape()) {
            throw FileError(file.path(), "shape", detail::tuple(file.shape()),
                            detail::tuple(x.shape()) + ", the shape of " + x.path().string());
        }
        inputs.reward = file.matrix<Scalar>();
        detail::check_finite(file, inputs.reward, inputs.offsets);
    }
    if (settings.p0) inputs.p0 = detail::read_p0<Scalar>(*settings.p0, inputs.instances.rows());
    if (settings.q0) inputs.q0 = detail::read_q0<Scalar>(*settings.q0, inputs.offsets, false);
    if (settings.scores) inputs.q0 = detail::read_q0<Scalar>(*settings.scores, inputs.offsets, true);
    return inputs;
}

}  // namespace pool
