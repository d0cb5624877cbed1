// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>

#include <concepts>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <otpool/gradient/differentiable_pooling.hpp>
#include <otpool/gradient/implicit.hpp>
#include <otpool/gradient/unrolled.hpp>
#include <otpool/pooling/instance_prior.hpp>
#include <otpool/solver/bregman_admm.hpp>
#include <otpool/solver/sinkhorn.hpp>

#include "arrays.hpp"
#include "layer_closed_forms.hpp"
#include "layer_tape.hpp"
#include "threads.hpp"

// Forward and backward passes of the poolings to one vector, for otpool.torch.

namespace otpool_python {

namespace pooling_layers {

using otpool::BregmanAdmm;
using otpool::DifferentiablePooling;
using otpool::Entropy;
using otpool::Implicit;
using otpool::InvalidArgument;
using otpool::ProblemGradient;
using otpool::Quadratic;
using otpool::RealMatrix;
using otpool::Sinkhorn;
using otpool::StepsAlone;
using otpool::Unrolled;

/// How a layer solves its problem.
struct LayerSettings {
    /// "sinkhorn", "badmm-e", "badmm-q": `steps` steps; "optimum": to `tolerance`; "mean", "max": in closed form.
    std::string solver;
    int steps;         ///< K, at least 1.
    double tolerance;  ///< For "optimum".
    int threads;       ///< At least 1, or 0 for one per processor.
};

template <BagScalar Scalar>
struct PoolingGradients {
    Matrix<Scalar> x;       ///< D x sum N
    Vector<Scalar> scores;  ///< sum N
    RealMatrix alphas;      ///< 4 x S: of alpha0, alpha1, alpha2 and rho
    Vector<Scalar> p0;      ///< D
};
template <BagScalar Scalar>
using PoolingTape = LayerTape<Scalar, PoolingGradients<Scalar>>;

/// Throws InvalidArgument unless there are alphas for all steps, or for every step.
inline void require_alphas(const LayerSettings& settings, const MatrixView<double>& alphas) {
    using otpool::detail::require_that;
    require_that(alphas.rows() == 4 && alphas.cols() >= 1, "shape of alphas",
                 otpool::detail::shape_text(alphas.cols(), alphas.rows()), "1 x 4, or K x 4 for K steps");
    require_that(alphas.cols() == 1 || (alphas.cols() == settings.steps && settings.solver != "optimum"),
                 "number of alphas", alphas.cols(), "1, or the number of steps");
}

/// Runs the forward pass; the tape's backward() is the pooling's.
template <class Scalar, class Mode, class R>
void fill(PoolingTape<Scalar>& tape, const DifferentiablePooling<Scalar, Mode, R>& pooling) {
    auto forward =
        std::make_shared<typename DifferentiablePooling<Scalar, Mode, R>::Forward>(pooling.forward(tape.batch.bags()));
    tape.pooled = forward->pooled;
    tape.backward = [pooling, forward](const MatrixView<Scalar>& dL_dpooled) {
        if constexpr (std::same_as<Mode, Unrolled<Sinkhorn, StepsAlone>>) {
            Index bag = 0;
            for (const auto& of_bag : forward->tapes) of_bag.trajectory->require_digits(bag++);
        }
        ProblemGradient<Scalar> of = pooling.backward(*forward, dL_dpooled);
        PoolingGradients<Scalar> gradients{std::move(of.reward), std::move(of.log_q0), {}, std::move(of.log_p0)};
        gradients.alphas.resize(4, of.alpha0.size());
        gradients.alphas << of.alpha0.transpose(), of.alpha1.transpose(), of.alpha2.transpose(), of.rho.transpose();
        return gradients;
    };
}

/// The pooling of a layer with these alphas: columns [alpha0, alpha1, alpha2, rho], of all steps or a column a step.
template <class Mode, class R, class Scalar>
DifferentiablePooling<Scalar, Mode, R> pooling_of(const LayerSettings& settings, const MatrixView<double>& alphas,
                                                  const Vector<Scalar>& p0) {
    DifferentiablePooling<Scalar, Mode, R> pooling;
    pooling.execution = execution(settings.threads);
    if (p0.size() > 0) pooling.parameters.features.prior = otpool::softmax(p0);
    pooling.parameters.alpha0 = static_cast<Scalar>(alphas(0, 0));
    pooling.parameters.features.alpha = static_cast<Scalar>(alphas(1, 0));
    pooling.parameters.instances.alpha = static_cast<Scalar>(alphas(2, 0));
    if constexpr (std::same_as<Mode, Implicit<Sinkhorn>>) {
        pooling.mode.solver.options.tolerance = settings.tolerance;
    } else {
        pooling.mode.solver.options.iterations = settings.steps;
        pooling.mode.solver.options.closed_forms = false;
        if constexpr (requires { pooling.mode.solver.rho; }) pooling.mode.solver.rho = alphas(3, 0);
        for (Index k = 0; k < alphas.cols() && alphas.cols() > 1; ++k) {
            pooling.mode.steps.push_back({alphas(0, k), alphas(1, k), alphas(2, k), alphas(3, k)});
        }
    }
    return pooling;
}

template <BagScalar Scalar>
void fill_closed_form(PoolingTape<Scalar>& tape, const LayerSettings& settings) {
    const ClosedFormLayer<Scalar> layer(settings.solver == "max", execution(settings.threads));
    const otpool::Bags<Scalar> bags = tape.batch.bags();
    tape.pooled = layer.forward(bags);
    tape.backward = [layer, bags, pooled = tape.pooled](const MatrixView<Scalar>& dL_dpooled) {
        ClosedFormGradients<Scalar> of = layer.backward(bags, pooled, dL_dpooled);
        return PoolingGradients<Scalar>{std::move(of.x), std::move(of.scores), {}, {}};
    };
}

template <BagScalar Scalar>
void fill(PoolingTape<Scalar>& tape, const LayerSettings& settings, const MatrixView<double>& alphas,
          const Vector<Scalar>& p0) {
    const std::string& solver = settings.solver;
    if (solver == "mean" || solver == "max") return fill_closed_form(tape, settings);
    require_alphas(settings, alphas);
    if (solver == "optimum") {
        fill(tape, pooling_of<Implicit<Sinkhorn>, Entropy>(settings, alphas, p0));
    } else if (solver == "sinkhorn") {
        fill(tape, pooling_of<Unrolled<Sinkhorn, StepsAlone>, Entropy>(settings, alphas, p0));
    } else if (solver == "badmm-e") {
        fill(tape, pooling_of<Unrolled<BregmanAdmm, StepsAlone>, Entropy>(settings, alphas, p0));
    } else if (solver == "badmm-q") {
        if constexpr (std::same_as<Scalar, double>) {  // its states are double in any case
            fill(tape, pooling_of<Unrolled<BregmanAdmm, StepsAlone>, Quadratic>(settings, alphas, p0));
        } else {
            throw InvalidArgument("type of x for badmm-q", "float32", "float64");
        }
    } else {
        throw InvalidArgument("solver", solver, "sinkhorn, badmm-e, badmm-q, optimum, mean or max");
    }
}

template <BagScalar Scalar>
std::unique_ptr<PoolingTape<Scalar>> pool(const Rows<Scalar>& x, const Pointers& ptr,
                                          const std::optional<Line<Scalar>>& scores,
                                          const std::optional<Rows<double>>& alphas,
                                          const std::optional<Line<Scalar>>& p0, const std::string& solver, int steps,
                                          double tolerance, int threads) {
    auto tape = std::make_unique<PoolingTape<Scalar>>();
    tape->batch = {x, ptr, scores};
    without_gil([&] {
        fill(*tape, {solver, steps, tolerance, threads}, view_of<double>(alphas), vector_of<Scalar>(p0));
    });
    return tape;
}

template <BagScalar Scalar>
nb::tuple backward(const PoolingTape<Scalar>& tape, const Rows<Scalar>& dL_dpooled) {
    PoolingGradients<Scalar> of = without_gil([&] { return tape.backward(view_of(dL_dpooled)); });
    return nb::make_tuple(array_of(std::move(of.x)), array_of(std::move(of.scores)), array_of(std::move(of.alphas)),
                          array_of(std::move(of.p0)));
}

template <BagScalar Scalar>
void bind(nb::module_& module, const char* name) {
    using Tape = PoolingTape<Scalar>;
    nb::class_<Tape>(module, name, "A pooled batch, and what its backward pass needs.")
        .def(
            "pooled", [](const Tape& tape) { return array_of(tape.pooled); }, "(B, D)")
        .def("backward", &backward<Scalar>, nb::arg("dL_dpooled").noconvert(),
             "The derivatives of x, scores, alphas and p0.");
    module.def("layer_pool", &pool<Scalar>, nb::arg("x").noconvert(), nb::arg("ptr").noconvert(),
               nb::arg("scores").noconvert().none(), nb::arg("alphas").noconvert().none(),
               nb::arg("p0").noconvert().none(), nb::arg("solver"), nb::arg("steps"), nb::arg("tolerance"),
               nb::arg("threads"),
               "Pools a batch: x (sum N, D), ptr (B + 1), q0 = softmax(scores) in every bag, alphas (1 or K, 4) of "
               "alpha0, alpha1, alpha2 and rho, p0 = otpool::softmax(p0). Returns its tape.");
}

}  // namespace pooling_layers

/// The layers that pool to one vector.
inline void bind_pooling_layers(nb::module_& module) {
    pooling_layers::bind<float>(module, "PoolingTapeFloat32");
    pooling_layers::bind<double>(module, "PoolingTapeFloat64");
}

}  // namespace otpool_python
