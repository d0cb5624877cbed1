// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <concepts>
#include <string>
#include <utility>

#include "otpool/adapter/file_error.hpp"
#include "otpool/adapter/safetensors.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/layer/published.hpp"
#include "otpool/pooling/instance_prior.hpp"

namespace otpool::published {

namespace detail {

/// The weights of one layer, whose tensors' names begin with `prefix`; the file may have other tensors too.
class WeightsFile {
public:
    WeightsFile(const SafetensorsFile& file, std::string prefix) : file_(file), prefix_(std::move(prefix)) {}

    /// A parameter with one entry for all steps, or one per step.
    RealVector parameter(const std::string& name, int steps) const {
        RealVector values = file_.vector(prefix_ + name);
        if (values.size() != 1 && values.size() != steps) {
            refuse_shape(name, steps == 1 ? "[1]" : "[1] or [" + std::to_string(steps) + "], one entry a step");
        }
        require_finite(name, values);
        return values;
    }

    Attention<Real> attention() const {
        RealMatrix V = file_.matrix(prefix_ + "linear_r1.weight");
        if (V.rows() != 2 * V.cols()) refuse_shape("linear_r1.weight", "[2 D, D] for D features");
        const RealMatrix w = file_.matrix(prefix_ + "linear_r2.weight");
        if (w.rows() != 1 || w.cols() != V.rows()) {
            refuse_shape("linear_r2.weight", "[1, " + std::to_string(V.rows()) + "], after linear_r1.weight");
        }
        require_finite("linear_r1.weight", V);
        require_finite("linear_r2.weight", w);
        return {.V = std::move(V), .w = w.transpose()};
    }

private:
    [[noreturn]] void refuse_shape(const std::string& name, const std::string& allowed) const {
        throw FileError(file_.path(), "shape of " + otpool::detail::printable(prefix_ + name),
                        otpool::detail::printed(file_.shape(prefix_ + name)), allowed);
    }

    template <class Values>
    void require_finite(const std::string& name, const Values& values) const {
        using otpool::detail::printed;
        for (Index i = 0; i < values.rows(); ++i) {
            for (Index j = 0; j < values.cols(); ++j) {
                if (std::isfinite(values(i, j))) continue;
                const std::string column = Values::ColsAtCompileTime == 1 ? "" : ", " + printed(j);
                throw FileError(file_.path(),
                                otpool::detail::printable(prefix_ + name) + "[" + printed(i) + column + "]",
                                printed(values(i, j)), "finite numbers");
            }
        }
    }

    const SafetensorsFile& file_;
    std::string prefix_;
};

}  // namespace detail

/// A layer of K = `steps` steps with the weights of a released layer:
///
///     load<Sinkhorn<float>>(SafetensorsFile("weights.safetensors"), 4)
///     load<QuadraticAdmm<float, Attention<Real>>>(SafetensorsFile("model.safetensors"), 4, "pooling.")
///
/// Tensors, after `prefix`: `a1`, `a2`, `a3` and, for ADMM, `rho`, before softplus, of shape [1] or [K]. If the prior
/// is Attention<Real>, also `linear_r1.weight` [2 D, D] and `linear_r2.weight` [1, 2 D]; UniformPrior ignores them. The
/// file does not say which layer it is for, whether q0 is learned, or what K is (if all shapes are [1]): the caller
/// must know. Throws FileError; InvalidArgument for steps < 1.
template <class LoadedLayer>
requires std::same_as<decltype(LoadedLayer::prior), UniformPrior> ||
    std::same_as<decltype(LoadedLayer::prior), Attention<Real>>
        LoadedLayer load(const SafetensorsFile& file, int steps, const std::string& prefix = "") {
    otpool::detail::require_that(steps >= 1, "steps", steps, "at least 1");
    const detail::WeightsFile weights(file, prefix);
    LoadedLayer layer{.parameters = {.alpha0 = weights.parameter("a1", steps),
                                     .alpha1 = weights.parameter("a2", steps),
                                     .alpha2 = weights.parameter("a3", steps)},
                      .steps = steps};
    if constexpr (LoadedLayer::uses_rho) layer.parameters.rho = weights.parameter("rho", steps);
    if constexpr (std::same_as<decltype(LoadedLayer::prior), Attention<Real>>) layer.prior = weights.attention();
    return layer;
}

}  // namespace otpool::published
