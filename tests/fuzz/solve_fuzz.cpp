// Every solver on any problem: it refuses the problem, or what it returns is finite, is a plan, pools between the lowest
// and the highest value, and has converged if it says so.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <sstream>
#include <string>

#include "fuzz_input.hpp"
#include "otpool/otpool.hpp"
#include "support/optimality.hpp"

namespace {

using namespace otpool;
using fuzz::Input;
using tests::Wide;
using tests::WideVector;

constexpr double inf = std::numeric_limits<double>::infinity();

/// Where a bag's numbers are from.
enum class Numbers { ties, scaled, extremes, any };

template <class Scalar>
class MadeProblem {
public:
    Matrix<Scalar> reward, values;
    Scalar alpha0, alpha1, alpha2;
    Vector<Scalar> p0, q0;
    bool p_has_masses, q_has_masses;

    explicit MadeProblem(Input& input) {
        const auto features = static_cast<Index>(1 + input.below(6));
        const auto instances = static_cast<Index>(1 + input.below(8));
        alpha0 = alpha(input);
        alpha1 = alpha(input);
        alpha2 = alpha(input);
        p_has_masses = input.chance(4);
        q_has_masses = input.chance(4);
        p0 = prior(input, features, p_has_masses);
        q0 = prior(input, instances, q_has_masses);
        const bool has_values = input.chance(2);
        reward = bag(input, features, instances);
        if (has_values) values = bag(input, features, instances);
    }

    template <class R>
    UotProblem<Scalar, R> problem() const {
        return {.reward = reward,
                .values = values,
                .alpha0 = alpha0,
                .features = {.alpha = alpha1, .prior = p0, .has_masses = p_has_masses},
                .instances = {.alpha = alpha2, .prior = q0, .has_masses = q_has_masses}};
    }

private:
    static Scalar alpha(Input& input) {
        static constexpr std::array<double, 16> usual = {1,    0,     inf, 0.5,   2,    0.1,     1e-3,   10,
                                                         1e-8, 1e-14, 1e6, 1e-30, 1e30, 1.7e308, 5e-324, 1e-300};
        if (input.chance(16)) return input.take<Scalar>();
        return static_cast<Scalar>(input.one_of(usual));
    }

    static Vector<Scalar> prior(Input& input, Index size, bool has_masses) {
        static constexpr std::array<double, 12> usual = {1, 2, 0, 0.1, 5, 1e-3, 1e-8, 1e-30, 1e3, 1e30, 1e-300, 5e-324};
        if (input.chance(2)) return {};
        Vector<Scalar> prior(size);
        for (Scalar& entry : prior)
            entry = input.chance(64) ? input.take<Scalar>() : static_cast<Scalar>(input.one_of(usual));
        if (!has_masses) prior /= prior.sum();
        return prior;
    }

    static Matrix<Scalar> bag(Input& input, Index features, Index instances) {
        static constexpr std::array<double, 12> extremes = {0,     1,      -1,     1e30,    -1e30,    1e-30,
                                                            1e300, -1e300, 1e-300, 1.7e308, -1.7e308, 5e-324};
        const auto numbers = static_cast<Numbers>(input.below(4));
        const bool forbids = input.chance(4);
        const double scale = std::pow(10.0, static_cast<double>(input.take<std::int8_t>()) / 4);
        Matrix<Scalar> bag(features, instances);
        for (Scalar& entry : bag.reshaped()) {
            double number = 0;
            switch (numbers) {
                case Numbers::ties: number = static_cast<double>(input.below(5)) / 2; break;
                case Numbers::scaled: number = scale * input.take<std::int16_t>() / 4096; break;
                case Numbers::extremes: number = input.one_of(extremes); break;
                case Numbers::any: number = static_cast<double>(input.take<Scalar>()); break;
            }
            entry = static_cast<Scalar>(forbids && input.chance(4) ? -inf : number);
        }
        return bag;
    }
};

Options any_options(Input& input) {
    static constexpr std::array limits = {20, 1, 2, 5, 60};
    static constexpr std::array tolerances = {1e-8, 1e-3, 1e-12, 1e-5};
    Options options{.max_iterations = input.one_of(limits)};
    if (input.chance(4)) options.iterations = input.one_of(limits);
    if (input.chance(2)) options.tolerance = input.one_of(tolerances);
    options.closed_forms = !input.chance(2);
    options.history = input.chance(4);
    return options;
}

template <class Scalar, class R>
std::string described(const UotProblem<Scalar, R>& problem) {
    std::ostringstream text;
    text.precision(std::numeric_limits<Scalar>::max_digits10);
    text << "reward\n"
         << problem.reward.matrix() << "\nvalues\n"
         << problem.values.matrix() << "\nalphas " << problem.alpha0 << ' ' << problem.features.alpha << ' '
         << problem.instances.alpha << "\np0 " << problem.features.prior.transpose() << "\nq0 "
         << problem.instances.prior.transpose() << "\nmasses " << problem.features.has_masses << ' '
         << problem.instances.has_masses << (sizeof(Scalar) == 4 ? ", float" : ", double");
    return text.str();
}

/// A problem and what a solver made of it, in double whatever the scalar: the checks are compiled once.
struct Answer {
    RealMatrix reward, values;
    double alpha0, alpha1, alpha2;
    WideVector p, q;
    bool is_quadratic, is_relative;
    double epsilon, least, most;  ///< Of the scalar: the distance of 1 from the next number, the least normal number.

    Status status;
    double residual;
    RealMatrix plan;
    RealVector f, g, pooled;

    template <class Scalar, class R>
    explicit Answer(const Solution<Scalar, R>& solution)
        : reward(solution.problem.reward.matrix().template cast<double>()),
          values(solution.problem.pooled_values().matrix().template cast<double>()),
          alpha0(solution.problem.alpha0),
          alpha1(solution.problem.features.alpha),
          alpha2(solution.problem.instances.alpha),
          p(tests::wide_prior(solution.problem.features, reward.rows())),
          q(tests::wide_prior(solution.problem.instances, reward.cols())),
          is_quadratic(std::same_as<R, Quadratic>),
          is_relative(std::same_as<R, RelativeEntropy>),
          epsilon(std::numeric_limits<Scalar>::epsilon()),
          least(std::numeric_limits<Scalar>::min()),
          most(std::numeric_limits<Scalar>::max()),
          status(solution.status),
          residual(solution.residual),
          plan(solution.plan().template cast<double>()),
          f(solution.feature_potential.template cast<double>()),
          g(solution.instance_potential.template cast<double>()),
          pooled(ConditionalReadout{}(solution).template cast<double>()) {}

    bool allows(Index d, Index n) const { return q[n] > 0 && std::isfinite(reward(d, n)); }
};

/// Whether every feature pools between its lowest and its highest value that it may draw on.
bool is_between(const RealVector& pooled, const Answer& of) {
    for (Index d = 0; d < pooled.size(); ++d) {
        double low = inf;
        double high = -inf;
        for (Index n = 0; n < of.values.cols(); ++n) {
            if (!of.allows(d, n)) continue;
            low = std::min(low, of.values(d, n));
            high = std::max(high, of.values(d, n));
        }
        const double slack = 8 * of.epsilon * std::max({std::abs(low), std::abs(high), of.least});
        if (!(pooled[d] >= low - slack && pooled[d] <= high + slack)) return false;
    }
    return true;
}

/// Checks |log(marginal / prior) + potential / alpha|, where numbers of the scalar can tell.
bool has_marginal(const RealVector& marginal, const WideVector& prior, double alpha, const RealVector& potential,
                  const Answer& of, double allowed) {
    for (Index i = 0; i < marginal.size(); ++i) {
        if (prior[i] == 0 && marginal[i] != 0) return false;
        if (prior[i] == 0 || alpha == 0 || std::abs(potential[i]) > of.most / 2) continue;
        if (std::isinf(of.alpha0) && std::isfinite(alpha)) continue;  // only the regulariser counts
        const Wide penalty = std::isinf(alpha) ? 0 : Wide(potential[i]) / alpha;
        const Wide rounding = of.epsilon * (16 + 16 * std::abs(penalty) + (std::isinf(alpha) ? 0 : of.least / alpha));
        const Wide expected = prior[i] * std::exp(-penalty);
        if (rounding > 0.1L || expected < of.least / of.epsilon) continue;
        if (!(std::abs(std::log(marginal[i] / expected)) <= allowed + rounding)) return false;
    }
    return true;
}

/// Checks the plan's distance from the one that its potentials generate, relative to the marginals, where numbers of the
/// scalar can tell.
bool has_potentials(const Answer& of, const RealVector& r, const RealVector& c, double allowed) {
    if (of.alpha0 == 0 || std::isinf(of.alpha0)) return true;
    RealMatrix distance = RealMatrix::Zero(of.plan.rows(), of.plan.cols());
    Wide largest = 16 * std::numeric_limits<double>::min();
    // Where an alpha is large, the marginals tell the potentials only up to its rounding.
    for (const double alpha : {of.alpha0, of.alpha1, of.alpha2})
        largest = std::isinf(alpha) ? largest : std::max<Wide>(largest, alpha);
    double smallest_line = r.minCoeff();
    for (Index n = 0; n < of.plan.cols(); ++n) {
        if (of.q[n] > 0) smallest_line = std::min(smallest_line, c[n]);
        for (Index d = 0; d < of.plan.rows(); ++d) {
            Wide generated = 0;
            if (of.allows(d, n)) {
                const Wide f = of.f[d], g = of.g[n], x = of.reward(d, n);
                const Wide slack = (x + f + g) / of.alpha0;
                largest = std::max({largest, std::abs(x), std::abs(f), std::abs(g)});
                const Wide base = of.is_relative ? of.p[d] * of.q[n] : 1;
                generated = of.is_quadratic ? std::max(slack, Wide(0)) / 2 : base * std::exp(slack);
            }
            distance(d, n) = static_cast<double>(std::abs(generated - of.plan(d, n)));
        }
    }
    const Wide rounding = 16 * of.epsilon * (1 + largest / of.alpha0) / (of.is_quadratic ? Wide(smallest_line) / 8 : 1);
    if (largest > of.most / 2 || rounding > 0.1L || smallest_line < of.least / of.epsilon) return true;
    const RealVector rows = distance.rowwise().sum();
    const RealVector columns = distance.colwise().sum().transpose();
    for (Index d = 0; d < r.size(); ++d) {
        if (!(rows[d] <= (allowed + rounding) * r[d])) return false;
    }
    for (Index n = 0; n < c.size(); ++n) {
        if (!(columns[n] <= (allowed + rounding) * c[n])) return false;
    }
    return true;
}

void check_answer(const Answer& of, double tolerance, const auto& expect) {
    expect(of.plan.allFinite() && (of.plan.array() >= 0).all(), "a plan");
    expect(of.f.allFinite() && of.g.allFinite(), "finite potentials");
    expect(std::isfinite(of.residual) && of.residual >= 0, "a finite residual");
    expect(is_between(of.pooled, of), "between the lowest and the highest value");
    if (of.status != Status::converged) return;
    expect(of.residual <= tolerance, "converged within the tolerance");
    const RealVector r = of.plan.rowwise().sum();
    const RealVector c = of.plan.colwise().sum().transpose();
    expect(has_marginal(r, of.p, of.alpha1, of.f, of, 2 * tolerance), "converged: the features' marginal");
    expect(has_marginal(c, of.q, of.alpha2, of.g, of, 2 * tolerance), "converged: the instances' marginal");
    expect(has_potentials(of, r, c, 4 * tolerance), "converged: the plan of the potentials");
}

std::string described(const Answer& of, const Options& options) {
    std::ostringstream text;
    text.precision(17);
    text << name(of.status) << ", residual " << of.residual << ", pooled " << of.pooled.transpose() << "\nf "
         << of.f.transpose() << "\ng " << of.g.transpose() << "\nplan\n"
         << of.plan << "\nmax_iterations " << *options.max_iterations << ", iterations "
         << options.iterations.value_or(0) << ", closed forms " << options.closed_forms;
    return text.str();
}

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
    const Options options = any_options(input);
    const MadeProblem<Scalar> made(input);
    const UotProblem<Scalar, R> problem = made.template problem<R>();
    if constexpr (EntropicRegularizer<R>) {
        if (which == 0) check(Sinkhorn{options}, problem, "Sinkhorn");
    }
    if (which == 1) check(Newton{options}, problem, "Newton");
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
