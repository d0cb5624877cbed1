// Copyright (c) 2026 the otpool authors. MIT licence.
#include "module.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <otpool/pooling/named_poolings.hpp>

#include "any_solver.hpp"
#include "arrays.hpp"
#include "batches.hpp"
#include "settings.hpp"

namespace otpool_python {

namespace {

/// The named poolings with at most one parameter, a number.
template <BagScalar Scalar>
nb::object pool_by_name(const std::string& name, double parameter, const Rows<Scalar>& x, const Pointers& ptr,
                        const std::optional<Rows<Scalar>>& reward, nb::handle options) {
    const Batch<Scalar> batch(x, ptr, reward, options);
    const auto number = [&](const char* of) { return scalar_of<Scalar>(parameter, of); };
    const auto pooled = [&]() -> Matrix<Scalar> {
        if (name == "sum") return batch.pooled_by(otpool::sum_pooling<Scalar>());
        if (name == "max") return batch.pooled_by(otpool::max_pooling<Scalar>());
        if (name == "min") return batch.pooled_by(otpool::min_pooling<Scalar>());
        if (name == "softmax") return batch.pooled_by(otpool::softmax_pooling<Scalar>(number("temperature")));
        if (name == "log_sum_exp") return batch.pooled_by(otpool::log_sum_exp_pooling<Scalar>(number("temperature")));
        if (name == "generalized_mean")
            return batch.pooled_by(otpool::generalized_mean_pooling<Scalar>(number("power")));
        if (name == "mixed") return batch.pooled_by(otpool::mixed_pooling<Scalar>(number("weight")));
        if (name == "dynamic_routing") {
            return batch.pooled_by(otpool::dynamic_routing_pooling<Scalar>(static_cast<int>(parameter)));
        }
        if (name == "attention") return batch.pooled_by(otpool::attention_pooling<Scalar>());
        return batch.pooled_by(otpool::mean_pooling<Scalar>());
    };
    return array_of(pooled());
}

/// The weights of attention pooling, q0 = softmax(scores) in each bag; a score of -inf excludes its instance.
nb::object softmax_of_bags(const Line<double>& scores, const Pointers& ptr) {
    Vector<double> weights = vector_of(std::optional(scores));
    const std::vector<std::int64_t> offsets = offsets_of(ptr);
    for (Index n = 0; n < weights.size(); ++n) {
        otpool::detail::require_that(weights[n] < std::numeric_limits<double>::infinity(),
                                     otpool::detail::text("scores[", n, "]"), weights[n],
                                     "finite numbers, or -inf to exclude an instance");
    }
    for (std::size_t b = 0; b + 1 < offsets.size(); ++b) {
        const Index first = std::max<Index>(offsets[b], 0);
        const Index size = std::min<Index>(offsets[b + 1], weights.size()) - first;
        if (size <= 0) continue;
        auto of_bag = weights.segment(first, size);
        const double highest = of_bag.maxCoeff();
        otpool::detail::require_that(std::isfinite(highest), otpool::detail::text("scores of bag ", b), "-inf",
                                     "at least one finite score");
        of_bag = (of_bag.array() - highest).exp();
    }
    return array_of(std::move(weights));
}

/// A matrix L x D, of an array (L, D).
template <BagScalar Scalar>
Matrix<Scalar> matrix_of(const Rows<Scalar>& rows) {
    return view_of(rows).matrix().transpose();
}

/// Attention whose scores come from the network of Ilse et al., gated if there is a U.
template <BagScalar Scalar>
nb::object pool_by_attention(const Rows<Scalar>& V, const std::optional<Rows<Scalar>>& U, const Line<Scalar>& w,
                             const Rows<Scalar>& x, const Pointers& ptr, nb::handle options) {
    const Batch<Scalar> batch(x, ptr, {}, options);
    const Vector<Scalar> weights = vector_of(std::optional(w));
    if (U) {
        return array_of(
            batch.pooled_by(otpool::gated_attention_pooling<Scalar>({matrix_of(V), matrix_of(*U), weights})));
    }
    return array_of(
        batch.pooled_by(otpool::attention_pooling<Scalar>(otpool::Attention<Scalar>{matrix_of(V), weights})));
}

template <BagScalar Scalar>
nb::object pool_by_gate(const Line<Scalar>& weights, double bias, const Rows<Scalar>& x, const Pointers& ptr,
                        nb::handle options) {
    const otpool::MeanMaxGate<Scalar> gate{vector_of(std::optional(weights)), scalar_of<Scalar>(bias, "bias")};
    return array_of(Batch<Scalar>(x, ptr, {}, options).pooled_by(otpool::gated_mean_max_pooling(gate)));
}

/// Any UOT pooling. float is for entropic regularisers only, as in AnySolver.
template <BagScalar Scalar>
nb::object pool_by_transport(nb::handle parameters, nb::handle regularizer, nb::handle solver, bool joint,
                             const Rows<Scalar>& x, const Pointers& ptr, const std::optional<Rows<Scalar>>& reward,
                             nb::handle options) {
    const auto of = parameters_of<Scalar>(parameters);
    const AnySolver chosen = solver_of(solver);
    const Batch<Scalar> batch(x, ptr, reward, options, !of.instances.has_masses);
    return with_regularizer(regularizer, [&]<class R>(const R& given) -> nb::object {
        if constexpr (otpool::EntropicRegularizer<R> || std::same_as<Scalar, double>) {
            if (joint) {
                using Joint = otpool::Pooling<Scalar, AnySolver, R, otpool::JointReadout>;
                return array_of(batch.pooled_by(Joint{.parameters = of, .solver = chosen, .regularizer = given}));
            }
            using Conditional = otpool::Pooling<Scalar, AnySolver, R>;
            return array_of(batch.pooled_by(Conditional{.parameters = of, .solver = chosen, .regularizer = given}));
        } else {
            throw otpool::UnsupportedProblem("pooling()", "float32 and this regularizer", "float64");
        }
    });
}

template <BagScalar Scalar>
void bind(nb::module_& module) {
    const auto x = nb::arg("x").noconvert();
    const auto ptr = nb::arg("ptr");
    const auto reward = nb::arg("reward").noconvert().none();
    const auto options = nb::arg("options");
    module.def("pool_by_name", pool_by_name<Scalar>, nb::arg("name"), nb::arg("parameter"), x, ptr, reward, options);
    module.def("pool_by_attention", pool_by_attention<Scalar>, nb::arg("V").noconvert(),
               nb::arg("U").noconvert().none(), nb::arg("w").noconvert(), x, ptr, options);
    module.def("pool_by_gate", pool_by_gate<Scalar>, nb::arg("weights").noconvert(), nb::arg("bias"), x, ptr, options);
    module.def("pool_by_transport", pool_by_transport<Scalar>, nb::arg("parameters"), nb::arg("regularizer"),
               nb::arg("solver"), nb::arg("joint"), x, ptr, reward, options);
}

}  // namespace

void bind_poolings(nb::module_& module) {
    bind<float>(module);
    bind<double>(module);
    module.def("softmax_of_bags", softmax_of_bags, nb::arg("scores"), nb::arg("ptr"));
}

}  // namespace otpool_python
