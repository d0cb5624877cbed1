// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <cmath>
#include <optional>
#include <string>
#include <utility>

#include <otpool/closed_form/wright_omega.hpp>
#include <otpool/pooling/pooling.hpp>
#include <otpool/problem/at_most.hpp>
#include <otpool/problem/range.hpp>
#include <otpool/problem/regularizers.hpp>
#include <otpool/problem/total_variation.hpp>
#include <otpool/problem/uot_problem.hpp>

#include "any_solver.hpp"
#include "arrays.hpp"

// The option objects of otpool/options.py as values of the library. That module checks their types; ranges are the
// library's to check.

namespace otpool_python {

/// Attribute `name` as a Value.
template <class Value>
Value attribute(nb::handle object, const char* name) {
    return nb::cast<Value>(object.attr(name));
}

/// The name of the object's class.
inline std::string class_of(nb::handle object) { return attribute<std::string>(object.type(), "__name__"); }

/// The number as a Scalar; finite numbers stay finite, and numbers above 0 stay above it. Throws InvalidArgument.
template <BagScalar Scalar>
Scalar scalar_of(double number, const char* name) {
    const auto scalar = static_cast<Scalar>(number);
    otpool::detail::require_that(std::isinf(scalar) == std::isinf(number) && (scalar == 0) == (number == 0), name,
                                 number, "0, inf, or a number in the range of the bag's type");
    return scalar;
}

inline AnySolver solver_of(nb::handle object) {
    const std::string name = class_of(object);
    AnySolver solver{.options = {.iterations = attribute<std::optional<int>>(object, "iterations"),
                                 .tolerance = attribute<std::optional<double>>(object, "tolerance"),
                                 .max_iterations = attribute<std::optional<int>>(object, "max_iterations"),
                                 .closed_forms = attribute<bool>(object, "closed_forms"),
                                 .history = attribute<bool>(object, "history")}};
    if (name == "ClosedForm") solver.name = SolverName::closed_form;
    if (name == "Newton") solver.name = SolverName::newton;
    if (name == "ActiveSet") solver.name = SolverName::active_set;
    if (name == "BregmanAdmm") {
        solver.name = SolverName::bregman_admm;
        solver.rho = attribute<std::optional<double>>(object, "rho");
    }
    if (name == "Sinkhorn") {
        solver.name = SolverName::sinkhorn;
        solver.translation = attribute<bool>(object, "translation");
        solver.memory = attribute<int>(object, "memory");
        solver.instances_first = attribute<bool>(object, "instances_first");
    }
    return solver;
}

/// alpha sum_i p_i (m_i / p_i - 1)^2 / 2: a MarginalPenalty, psi(t) = (t - 1)^2 / 2. Half step: x = s - w with
/// w e^w = s e^(s - excess), s the strength.
struct ChiSquared {
    double value(double ratio) const { return (ratio - 1) * (ratio - 1) / 2; }
    double half_step(double excess, double strength) const {
        return strength - otpool::detail::wright_omega(std::log(strength) + strength - excess);
    }
};

inline otpool::AnyPenalty penalty_of(nb::handle object) {
    const std::string name = class_of(object);
    if (name == "TotalVariation") return otpool::TotalVariation();
    if (name == "ChiSquared") return ChiSquared();
    if (name == "AtMost") return otpool::AtMost();
    if (name == "Range") return otpool::Range(attribute<double>(object, "low"), attribute<double>(object, "high"));
    return otpool::KullbackLeibler();
}

/// by(regulariser)
auto with_regularizer(nb::handle object, const auto& by) {
    const std::string name = class_of(object);
    if (name == "RelativeEntropy") return by(otpool::RelativeEntropy());
    if (name == "Quadratic") return by(otpool::Quadratic());
    if (name == "KSparse") return by(otpool::KSparse{attribute<Index>(object, "most")});
    if (name == "TopK") return by(otpool::TopK{attribute<Index>(object, "most")});
    return by(otpool::Entropy());
}

/// An array of float64, or None, as numbers of the bag.
template <BagScalar Scalar>
Vector<Scalar> numbers_of(nb::handle array, const char* name) {
    const auto given = vector_of(nb::cast<std::optional<Line<double>>>(array));
    Vector<Scalar> numbers(given.size());
    for (Index i = 0; i < given.size(); ++i) numbers[i] = scalar_of<Scalar>(given[i], name);
    return numbers;
}

/// A side of options.py.
template <BagScalar Scalar>
otpool::Marginal<Scalar> marginal_of(nb::handle side, const char* alpha, const char* prior) {
    return {.alpha = scalar_of<Scalar>(attribute<double>(side, "alpha"), alpha),
            .prior = numbers_of<Scalar>(side.attr("prior"), prior),
            .penalty = penalty_of(side.attr("penalty")),
            .has_masses = attribute<bool>(side, "has_masses"),
            .alphas = numbers_of<Scalar>(side.attr("alphas"), alpha)};
}

/// Parameters of options.py.
template <BagScalar Scalar>
otpool::PoolingParameters<Scalar> parameters_of(nb::handle given) {
    otpool::PoolingParameters<Scalar> parameters{
        .alpha0 = scalar_of<Scalar>(attribute<double>(given, "alpha0"), "alpha0"),
        .features = marginal_of<Scalar>(given.attr("features"), "alpha1", "p0"),
        .instances = marginal_of<Scalar>(given.attr("instances"), "alpha2", "q0")};
    const auto mass = attribute<std::optional<double>>(given, "mass");
    if (mass) parameters.mass = scalar_of<Scalar>(*mass, "mass");
    return parameters;
}

}  // namespace otpool_python
