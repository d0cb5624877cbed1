// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <optional>
#include <string>

#include <otpool/layer/published.hpp>

#include "arrays.hpp"
#include "layer_tape.hpp"
#include "threads.hpp"

// Forward passes of the authors' released layers, for otpool.torch.

namespace otpool_python {

namespace published_layers {

template <class Layer>
Matrix<double> pool(const otpool::Bags<double>& bags, const MatrixView<double>& raw, int steps, int threads) {
    const auto row = [&](Index i) -> otpool::RealVector { return raw.matrix().row(i); };
    const Layer layer{.parameters = {row(0), row(1), row(2), row(3)}, .steps = steps, .execution = execution(threads)};
    return layer(bags);
}

inline Matrix<double> pool(const std::string& method, const otpool::Bags<double>& bags, const MatrixView<double>& raw,
                           int steps, int threads) {
    using namespace otpool::published;
    otpool::detail::require_that(raw.rows() == 4, "columns of the parameters", raw.rows(), "4");
    if (method == "sinkhorn") return pool<Sinkhorn<double>>(bags, raw, steps, threads);
    if (method == "badmm-e") return pool<EntropicAdmm<double>>(bags, raw, steps, threads);
    if (method == "badmm-q") return pool<QuadraticAdmm<double>>(bags, raw, steps, threads);
    throw otpool::InvalidArgument("method", method, "sinkhorn, badmm-e or badmm-q");
}

}  // namespace published_layers

/// The released layers.
inline void bind_published_layers(nb::module_& module) {
    module.def(
        "layer_pool_published",
        [](const Rows<double>& x, const Pointers& ptr, const std::optional<Line<double>>& scores,
           const Rows<double>& parameters, const std::string& method, int steps, int threads) {
            const LayerBatch<double> batch{x, ptr, scores};
            return array_of(without_gil(
                [&] { return published_layers::pool(method, batch.bags(), view_of(parameters), steps, threads); }));
        },
        nb::arg("x").noconvert(), nb::arg("ptr").noconvert(), nb::arg("scores").noconvert().none(),
        nb::arg("parameters").noconvert(), nb::arg("method"), nb::arg("steps"), nb::arg("threads"),
        "Pools a batch by a released layer. parameters: a1, a2, a3 and rho before softplus, (1 or K, 4).");
}

}  // namespace otpool_python
