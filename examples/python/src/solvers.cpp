// Copyright (c) 2026 the otpool authors. MIT licence.
#include "module.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <otpool/plan/solution_of_potentials.hpp>
#include <otpool/pooling/readout.hpp>

#include "any_solver.hpp"
#include "arrays.hpp"
#include "settings.hpp"
#include "threads.hpp"

namespace otpool_python {

namespace {

using Reward = Rows<double>;
using Values = std::optional<Rows<double>>;

/// A solution, whatever its regulariser, with the arrays that it views.
class AnySolution {
public:
    AnySolution(Reward reward, Values values) : reward_(std::move(reward)), values_(std::move(values)) {}
    AnySolution(const AnySolution&) = delete;
    AnySolution& operator=(const AnySolution&) = delete;
    virtual ~AnySolution() = default;

    /// Attributes that are there already.
    virtual nb::dict outcome() const = 0;
    // Computed when called.
    virtual Matrix<double> plan() const = 0;
    virtual Vector<double> feature_marginal() const = 0;
    virtual Vector<double> instance_marginal() const = 0;
    virtual double objective() const = 0;
    virtual Vector<double> pooled() const = 0;

private:
    Reward reward_;
    Values values_;
};

template <otpool::Regularizer R>
class SolutionOf : public AnySolution {
public:
    SolutionOf(Reward reward, Values values, otpool::Solution<double, R> solution)
        : AnySolution(std::move(reward), std::move(values)), solution_(std::move(solution)) {}

    nb::dict outcome() const override {
        nb::dict found;
        found["status"] = std::string(otpool::name(solution_.status));
        found["iterations"] = solution_.iterations;
        found["residual"] = solution_.residual;
        found["history"] = solution_.history;
        found["feature_potential"] = array_of(solution_.feature_potential);
        found["instance_potential"] = array_of(solution_.instance_potential);
        found["mass_potential"] = solution_.mass_potential;
        found["mass"] = solution_.mass();
        found["log_mass"] = solution_.log_mass;
        return found;
    }
    Matrix<double> plan() const override { return solution_.plan(); }
    Vector<double> feature_marginal() const override { return solution_.feature_marginal(); }
    Vector<double> instance_marginal() const override { return solution_.instance_marginal(); }
    double objective() const override { return solution_.objective(); }
    Vector<double> pooled() const override { return otpool::ConditionalReadout{}(solution_); }

    const otpool::Solution<double, R>& solution() const { return solution_; }

private:
    otpool::Solution<double, R> solution_;
};

/// Calls a Python function, or none. The solver runs without the GIL.
otpool::Observer observer_of(const nb::object& function) {
    if (function.is_none()) return {};
    return [&function](int iteration, double residual) {
        const nb::gil_scoped_acquire acquired;
        if (PyErr_CheckSignals() != 0) throw nb::python_error();
        return nb::cast<bool>(nb::bool_(function(iteration, residual)));
    };
}

/// What to start from: nothing, a solution, or potentials f and g.
struct Start {
    const AnySolution* solution;
    std::optional<Line<double>> f, g;
};

/// The solution to start from, or null. `made` keeps one that is made of potentials.
template <otpool::Regularizer R>
const otpool::Solution<double, R>* warm_start_of(const Start& start, const otpool::UotProblem<double, R>& problem,
                                                 otpool::Solution<double, R>& made) {
    if (start.solution != nullptr) {
        const auto* const same = dynamic_cast<const SolutionOf<R>*>(start.solution);
        otpool::detail::require_that(same != nullptr, "warm_start", "a solution with another regularizer",
                                     "one with the regularizer of the problem");
        return &same->solution();
    }
    if (!start.f || !start.g) return nullptr;
    if constexpr (otpool::EntropicRegularizer<R>) {
        made = otpool::solution_of_potentials(problem, vector_of(start.f), vector_of(start.g), 0, 1);
        return &made;
    } else {
        throw otpool::UnsupportedProblem("solve()", "a warm start of potentials and this regularizer",
                                         "a solution as solve() returned it, or an entropic regularizer");
    }
}

std::unique_ptr<AnySolution> solve(const Reward& reward, const Values& values, nb::handle parameters,
                                   nb::handle regularizer, nb::handle solver, const AnySolution* warm_start,
                                   const std::optional<Line<double>>& f, const std::optional<Line<double>>& g,
                                   const nb::object& observer, int threads) {
    const auto of = parameters_of<double>(parameters);
    const AnySolver chosen = solver_of(solver);
    const Start start{warm_start, f, g};
    return with_regularizer(regularizer, [&]<class R>(const R& given) -> std::unique_ptr<AnySolution> {
        const otpool::UotProblem<double, R> problem{.reward = view_of(reward),
                                                    .values = view_of(values),
                                                    .alpha0 = of.alpha0,
                                                    .features = of.features,
                                                    .instances = of.instances,
                                                    .mass = of.mass,
                                                    .regularizer = given};
        otpool::Solution<double, R> made;
        const otpool::Run<double, R> run{.warm_start = warm_start_of(start, problem, made),
                                         .observer = observer_of(observer),
                                         .execution = execution(threads)};
        auto solution = without_gil([&] { return chosen.solve(problem, run); });
        return std::make_unique<SolutionOf<R>>(reward, values, std::move(solution));
    });
}

/// A method that computes `Result` without the GIL and makes an array of it.
template <class Result>
auto computed(Result (AnySolution::*method)() const) {
    return
        [method](const AnySolution& solution) { return array_of(without_gil([&] { return (solution.*method)(); })); };
}

}  // namespace

void bind_solvers(nb::module_& module) {
    nb::class_<AnySolution>(module, "Solution")
        .def("outcome", &AnySolution::outcome)
        .def("plan", computed(&AnySolution::plan))
        .def("feature_marginal", computed(&AnySolution::feature_marginal))
        .def("instance_marginal", computed(&AnySolution::instance_marginal))
        .def("objective", &AnySolution::objective, nb::call_guard<nb::gil_scoped_release>())
        .def("pooled", computed(&AnySolution::pooled));
    module.def("solve", solve, nb::arg("reward").noconvert(), nb::arg("values").noconvert().none(),
               nb::arg("parameters"), nb::arg("regularizer"), nb::arg("solver"), nb::arg("warm_start").none(),
               nb::arg("f").none(), nb::arg("g").none(), nb::arg("observer").none(), nb::arg("threads"));
}

}  // namespace otpool_python
