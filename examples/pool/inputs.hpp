#pragma once

#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <string>

#include <otpool/otpool.hpp>

#include "arrays.hpp"
#include "instance_files.hpp"
#include "offsets.hpp"
#include "priors.hpp"
#include "settings.hpp"

namespace pool {

/// The contents of all input files, as the library takes them.
template <otpool::BagScalar Scalar>
struct Inputs {
    Matrix<Scalar> instances;   ///< D x sum N
    Matrix<Scalar> prototypes;  ///< D x K, or empty
    Index slots = 0;            ///< K, or 0 without slots
    Matrix<Scalar> reward;      ///< D or K x sum N, or empty
    Vector<Scalar> p0;          ///< D or K, or empty
    Vector<Scalar> q0;          ///< sum N, or empty
    Offsets offsets;            ///< B + 1

    /// Views of the instances, which must outlive it.
    otpool::Bags<Scalar> bags() const { return {instances, offsets, reward, q0}; }
};

namespace detail {

/// Feature and instance of the first number that is not finite, nor -inf where that means a forbidden pair.
template <class Scalar>
std::optional<std::array<Index, 2>> first_not_finite(const Matrix<Scalar>& values, bool forbids_pairs = false) {
    for (Index n = 0; n < values.cols(); ++n) {
        if (values.col(n).allFinite()) continue;
        for (Index d = 0; d < values.rows(); ++d) {
            const bool forbidden = forbids_pairs && values(d, n) == -std::numeric_limits<Scalar>::infinity();
            if (!std::isfinite(values(d, n)) && !forbidden) return {{d, n}};
        }
    }
    return {};
}

/// Divides every column by its length, unless that is 0.
template <class Scalar>
void make_unit(Matrix<Scalar>& vectors) {
    for (Index n = 0; n < vectors.cols(); ++n) {
        const Scalar largest = vectors.col(n).cwiseAbs().maxCoeff();
        if (largest == 0) continue;
        vectors.col(n) /= largest;  // so that no square overflows
        vectors.col(n).normalize();
    }
}

template <class Scalar>
Matrix<Scalar> read_instances(const InstanceFiles& input, const Offsets& offsets) {
    const Matrix<Scalar> instances = input.read<Scalar>();
    if (const auto at = first_not_finite(instances)) {
        const auto [d, n] = *at;
        throw FileError(input.path_of(n), place(offsets, n, input.row_of(n)) + ", feature " + printed(d),
                        printed(instances(d, n)), "finite numbers");
    }
    return instances;
}

/// D x K, from an array of shape (K, D).
template <class Scalar>
Matrix<Scalar> read_prototypes(const std::filesystem::path& path, const InstanceFiles& input) {
    const Array file = open_array(ArrayPlace(path), "prototypes");
    const auto [slots, features] = file.matrix_shape();
    if (slots == 0 || features != input.features()) {
        throw FileError(
            file.path(), "shape", support::to_string(file.shape()),
            "(K, " + printed(input.features()) + "), a prototype a row, with the features of the instances");
    }
    Matrix<Scalar> prototypes = file.matrix<Scalar>();
    if (const auto at = first_not_finite(prototypes)) {
        const auto [d, k] = *at;
        throw FileError(file.path(), "prototype " + printed(k) + ", feature " + printed(d), printed(prototypes(d, k)),
                        "finite numbers");
    }
    return prototypes;
}

/// One row for each feature, or for each of so many slots, or of any number of slots if that is 0.
template <class Scalar>
Matrix<Scalar> read_reward(const Settings& settings, const InstanceFiles& input, const Offsets& offsets, Index slots) {
    const Array file = open_array(ArrayPlace(*settings.reward), "reward");
    const bool of_slots = settings.slots.wanted();
    const auto [instances, rows] = file.matrix_shape();
    const bool fits = !of_slots ? rows == input.features() : slots > 0 ? rows == slots : rows > 0;
    if (instances != offsets.back() || !fits) {
        const std::string of_instances = "(" + printed(offsets.back()) + ", ";
        throw FileError(
            file.path(), "shape", support::to_string(file.shape()),
            !of_slots ? of_instances + printed(input.features()) + "), the shape of " + settings.input.string()
                      : of_instances + (slots > 0 ? printed(slots) : "K") + "), an instance a row and a slot a column");
    }
    Matrix<Scalar> reward = file.matrix<Scalar>();
    if (const auto at = first_not_finite(reward, true)) {
        const auto [row, n] = *at;
        const std::string line = of_slots ? "slot" : "feature";
        throw FileError(file.path(), place(offsets, n, n) + ", " + line + ' ' + printed(row), printed(reward(row, n)),
                        "finite numbers, or -inf where a " + line + " may not draw on an instance");
    }
    return reward;
}

}  // namespace detail

/// Reads and checks all input files. Those of --input are already open; of bags that are streamed, `instances` stays empty.
/// Throws FileError and UsageError.
template <otpool::BagScalar Scalar>
Inputs<Scalar> read_inputs(const Settings& settings, const InstanceFiles& input, bool streamed) {
    Inputs<Scalar> inputs;
    inputs.offsets = read_offsets(settings, input);
    if (!streamed) inputs.instances = detail::read_instances<Scalar>(input, inputs.offsets);
    inputs.slots = settings.slots.count.value_or(0);
    if (settings.slots.file) {
        inputs.prototypes = detail::read_prototypes<Scalar>(*settings.slots.file, input);
        inputs.slots = inputs.prototypes.cols();
    }
    if (settings.reward) inputs.reward = detail::read_reward<Scalar>(settings, input, inputs.offsets, inputs.slots);
    if (settings.slots.wanted() && inputs.slots == 0) inputs.slots = inputs.reward.rows();
    if (settings.p0) {
        inputs.p0 = settings.slots.wanted() ? read_p0<Scalar>(*settings.p0, inputs.slots, "slot")
                                            : read_p0<Scalar>(*settings.p0, input.features(), "feature");
    }
    if (settings.q0) inputs.q0 = read_q0<Scalar>(*settings.q0, inputs.offsets);
    if (settings.scores) inputs.q0 = read_scores<Scalar>(*settings.scores, inputs.offsets);
    if (settings.slots.unit) {
        detail::make_unit(inputs.instances);
        detail::make_unit(inputs.prototypes);
    }
    return inputs;
}

}  // namespace pool
