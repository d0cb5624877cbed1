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
    Matrix<Scalar> instances;  ///< D x sum N
    Matrix<Scalar> reward;     ///< D x sum N, or empty
    Vector<Scalar> p0;         ///< D, or empty
    Vector<Scalar> q0;         ///< sum N, or empty
    Offsets offsets;           ///< B + 1

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

template <class Scalar>
Matrix<Scalar> read_reward(const Settings& settings, const InstanceFiles& input, const Offsets& offsets) {
    const support::NpyFile file = open_array(ArrayPlace(*settings.reward), "reward");
    const std::array<Index, 2> shape = {offsets.back(), input.features()};
    if (file.matrix_shape() != shape) {
        throw FileError(file.path(), "shape", support::to_string(file.shape()),
                        support::to_string({shape[0], shape[1]}) + ", the shape of " + settings.input.string());
    }
    Matrix<Scalar> reward = file.matrix<Scalar>();
    if (const auto at = first_not_finite(reward, true)) {
        const auto [d, n] = *at;
        throw FileError(file.path(), place(offsets, n, n) + ", feature " + printed(d), printed(reward(d, n)),
                        "finite numbers, or -inf where a feature may not draw on an instance");
    }
    return reward;
}

}  // namespace detail

/// Reads and checks all input files. Those of --input are already open. Throws FileError and UsageError.
template <otpool::BagScalar Scalar>
Inputs<Scalar> read_inputs(const Settings& settings, const InstanceFiles& input) {
    Inputs<Scalar> inputs;
    inputs.offsets = read_offsets(settings, input);
    inputs.instances = detail::read_instances<Scalar>(input, inputs.offsets);
    if (settings.reward) inputs.reward = detail::read_reward<Scalar>(settings, input, inputs.offsets);
    if (settings.p0) inputs.p0 = read_p0<Scalar>(*settings.p0, input.features());
    if (settings.q0) inputs.q0 = read_q0<Scalar>(*settings.q0, inputs.offsets);
    if (settings.scores) inputs.q0 = read_scores<Scalar>(*settings.scores, inputs.offsets);
    return inputs;
}

}  // namespace pool
