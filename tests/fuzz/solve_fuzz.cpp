// Every solver on any problem: it refuses the problem, or what it returns is finite, is a plan, pools between the lowest
// and the highest value, and has converged if it says so.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>

#include "answer.hpp"
#include "any_problem.hpp"
#include "fuzz_input.hpp"
#include "otpool/otpool.hpp"

namespace {

using namespace otpool;
using fuzz::Answer;
using fuzz::described;
using fuzz::Input;
using fuzz::MadeProblem;

template <class Scalar, class R, class Solver>
void check(const Solver& solver, const UotProblem<Scalar, R>& problem, const std::string& name) {
    std::string found;
    const auto expect = [&](bool holds, const std::string& what) {
        if (!holds) fuzz::expect(false, name + ": " + what + "\n" + described(problem) + "\n" + found);
    };
    bool is_valid = true;
    try {
        validate(problem);
    } catch (const InvalidArgument& error) {
        fuzz::expect_message(error.what());
        is_valid = false;
    }
    const double tolerance = solver.options.tolerance.value_or(sizeof(Scalar) == 8 ? 1e-8 : 1e-6);
    try {
        const Solution<Scalar, R> solution = solver.solve(problem);
        expect(is_valid, "refuses what validate() refuses");
        const Answer answer(solution);
        found = described(answer, solver.options);
        check_answer(answer, tolerance, expect);
        expect(solution.feature_marginal().allFinite() && solution.instance_marginal().allFinite(), "finite marginals");
        expect(std::isfinite(solution.log_mass) && std::isfinite(solution.mass()), "a finite mass");
        expect(std::isfinite(solution.objective()), "a finite objective");
        expect(JointReadout{}(solution).allFinite(), "a finite joint readout");

        const Answer warm(solver.solve(problem, {.warm_start = &solution}));
        found += "\nfrom a warm start:\n" + described(warm, solver.options);
        check_answer(warm, tolerance, expect);

        Vector<Scalar> first(problem.reward.rows()), second(problem.reward.rows());
        Workspace workspace;
        const Outcome outcome = solver.pool(problem, first, {.workspace = &workspace});
        expect(is_between(first.template cast<double>(), answer), "pools between the lowest and the highest value");
        const Outcome same = solver.pool(problem, second, {.workspace = &workspace});
        expect(first == second && outcome.residual == same.residual && outcome.iterations == same.iterations,
               "the same in the memory of another solve");
    } catch (const InvalidArgument& error) {
        expect(!is_valid, std::string("takes what validate() takes: ") + error.what());
    } catch (const UnsupportedProblem& error) {
        fuzz::expect_message(error.what());
    }
}

template <class Scalar, class R>
void check_solver(Input& input) {
    const std::size_t which = input.below(6);
    const Options options = fuzz::any_options(input);
    const MadeProblem<Scalar> made(input);
    const UotProblem<Scalar, R> problem = made.template problem<R>();
    if constexpr (EntropicRegularizer<R>) {
        if (which == 0) check(Sinkhorn{options}, problem, "Sinkhorn");
    }
    if (which == 1) check(Newton{options}, problem, "Newton");
    // BregmanAdmm, which Automatic ends with, is known to fail where numbers are further apart.
    if ((which == 2 || which == 5) && !made.is_moderate()) return;
    if (which == 2) check(BregmanAdmm{options}, problem, "BregmanAdmm");
    if (which == 3) check(ActiveSet{options}, problem, "ActiveSet");
    if (which == 4) check(ClosedForm{options}, problem, "ClosedForm");
    if (which == 5) check(Automatic{options}, problem, "Automatic");
}

template <class Scalar>
void check_regularizer(Input& input) {
    const std::size_t which = input.below(3);
    if (which == 0) check_solver<Scalar, Entropy>(input);
    if (which == 1) check_solver<Scalar, RelativeEntropy>(input);
    if (which == 2) check_solver<Scalar, Quadratic>(input);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input input(data, size);
    if (input.below(2) == 0) {
        check_regularizer<double>(input);
    } else {
        check_regularizer<float>(input);
    }
    return 0;
}
