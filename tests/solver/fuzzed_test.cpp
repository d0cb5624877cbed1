#include <cmath>
#include <limits>

#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/optimality.hpp"

// What tests/fuzz/solve_fuzz.cpp found: problems whose numbers are as far apart as double can hold.

namespace fuzzed_test {

using namespace otpool;
using namespace tests;

template <class R>
UotProblem<double, R> problem_of(const Matrix<double>& reward, double alpha0, double alpha1, double alpha2) {
    return {.reward = reward, .alpha0 = alpha0, .features = {.alpha = alpha1}, .instances = {.alpha = alpha2}};
}

TEST_CASE("Newton ends where the reward's range over alpha0 is infinite") {
    const Matrix<double> reward{{0, 1e200, 3}, {2, -1e200, 0}};
    for (const double alpha : {1.0, 1e-200, std::numeric_limits<double>::infinity()}) {
        const auto solution = Newton{}.solve(problem_of<Quadratic>(reward, 1e-200, 1, alpha));
        CHECK(ConditionalReadout{}(solution).allFinite());
        CHECK((!solution.converged() || marginal_violation(solution) < 1e-6));
    }
}

TEST_CASE("An alpha beyond the range of double over alpha0 keeps its marginal") {
    for (const double alpha0 : {std::numeric_limits<double>::denorm_min(), 1e-300}) {
        for (const double alpha2 : {0.25, 1.0, 4.0, 1e30, 1e300}) {
            for (const double x : {0.0, 1.0}) {
                INFO("alpha0 " << alpha0 << ", alpha2 " << alpha2 << ", reward " << x);
                const Matrix<double> reward = Matrix<double>::Constant(3, 1, x);
                // The entries cost nothing: log c = X / alpha2.
                const auto solution = ClosedForm{}.solve(problem_of<Quadratic>(reward, alpha0, 0, alpha2));
                CHECK(solution.converged());
                CHECK(std::abs(solution.log_mass - x / alpha2) < 1e-12);
                CHECK(std::abs(solution.instance_potential[0] + x) < 1e-12);
                CHECK((solution.plan().array() * 3 - std::exp(x / alpha2)).abs().maxCoeff() < 1e-12 * std::exp(4));
            }
        }
    }
    const Matrix<double> zeros = Matrix<double>::Zero(1, 8);
    auto masses = problem_of<Quadratic>(zeros, 1e-300, 1, 1.7e308);
    masses.features.prior = Vector<double>::Constant(1, 1e30);
    masses.features.has_masses = true;
    const auto solution = Newton{}.solve(masses);
    CHECK((!solution.converged() || marginal_violation(solution) < 1e-6));
}

TEST_CASE("Newton tells Quadratic's rewards apart however small alpha0 is") {
    // 0.5 + 0.9 > 1 + 0.1
    const Matrix<double> reward{{1, 0.5}, {0.9, 0.1}};
    const Matrix<double> crossed{{0, 0.5}, {0.5, 0}};
    for (const double alpha0 : {std::numeric_limits<double>::denorm_min(), 1e-300, 1e-290, 1e-280, 1e-200}) {
        INFO("alpha0 " << alpha0);
        const auto solution = Newton{}.solve(problem_of<Quadratic>(reward, alpha0, hard, hard));
        CHECK(solution.converged());
        CHECK((solution.plan() - crossed).cwiseAbs().maxCoeff() < 1e-12);
    }
}

TEST_CASE("Newton on Quadratic says where a plan's entries times alpha0 leave the range of double") {
    const Matrix<double> reward = Matrix<double>::Ones(1, 1);
    const Newton newton{{.closed_forms = false}};
    for (const double alpha0 : {1e-300, 1e-290, 1e-270, 1e-100}) {
        for (const double alpha1 : {1e-8, 1e-4, 1e-2, 1.0}) {
            INFO("alpha0 " << alpha0 << ", alpha1 " << alpha1);
            const auto solution = newton.solve(problem_of<Quadratic>(reward, alpha0, alpha1, 0));
            const double log_entry = std::log1p(solution.feature_potential[0]) - std::log(2 * alpha0);
            CHECK(solution.converged() == (alpha0 > 1e-280 || alpha1 > 1e-3));
            if (!solution.converged()) {
                CHECK(solution.status == Status::precision_limit);
                CHECK(std::abs(log_entry - solution.log_mass) <= 1.01 * solution.residual);
            } else if (solution.feature_potential[0] > -1) {
                CHECK(std::abs(log_entry - solution.log_mass) < 1e-6);
            }
        }
    }
}

TEST_CASE("ActiveSet takes rewards and alphas as small as numbers are") {
    const double least = std::numeric_limits<double>::denorm_min();
    const ActiveSet solver{{.closed_forms = false}};
    for (const double x : {0.0, least, 1e-310, 1e-300}) {
        for (const double alpha : {least, 1e-310, 1e-300, 1.0, double(hard)}) {
            INFO("reward " << x << ", alpha " << alpha);
            // Each feature reaches its own instance best, and P is diagonal; hard features have their prior's mass.
            const Matrix<double> reward = Matrix<double>::Identity(3, 3) * x;
            const auto solution = solver.solve(problem_of<Entropy>(reward, 0, alpha, 0));
            CHECK(solution.feature_potential.allFinite());
            CHECK((solution.feature_potential.array() + x).abs().maxCoeff() <= 1e-13 * x);
            if (x / alpha < 1e-10) CHECK((solution.feature_marginal().array() * 3 - 1).abs().maxCoeff() < 1e-9);
            if (x > 1e-305) CHECK(solution.plan().isDiagonal());
        }
    }
}

TEMPLATE_TEST_CASE("No solver has converged where rewards over alpha0 tie as they leave its range", "", Entropy,
                   RelativeEntropy) {
    // At the optimum entries of reward 0 have mass on other lines than the first alone.
    Matrix<double> reward = Matrix<double>::Zero(6, 3);
    reward(0, 0) = 3.85;
    for (const double alpha0 : {std::numeric_limits<double>::denorm_min(), 1e-300, 1e-200, 1e-110}) {
        INFO("alpha0 " << alpha0);
        const auto problem = problem_of<TestType>(reward, alpha0, 0.5, 2);
        const auto check = [&](const auto& solver) {
            const auto cold = solver.solve(problem);
            for (const auto& solution : {cold, solver.solve(problem, {.warm_start = &cold})}) {
                CHECK(solution.feature_potential.allFinite());
                if (!solution.converged()) continue;
                for (Index d = 0; d < 6; ++d) {  // entries with mass are tight
                    for (Index n = 0; n < 3; ++n) {
                        const double slack =
                            reward(d, n) + solution.feature_potential[d] + solution.instance_potential[n];
                        CHECK((solution.plan()(d, n) < 1e-9 || std::abs(slack) < 1e-9));
                    }
                }
            }
        };
        check(Newton{{.max_iterations = 20}});
        check(Sinkhorn{{.max_iterations = 200}});
    }
}

TEST_CASE("Quadratic with alpha0 up to the largest double has the plan of its potentials") {
    const double most = std::numeric_limits<double>::max();
    for (const double x : {0.0, 1e5, 1e307, 1.7e308}) {
        Matrix<double> reward = Matrix<double>::Constant(5, 7, x);
        reward(2, 3) = -x;
        for (const double alpha0 : {most, most / 2, most / 4, 1e307}) {
            for (const double alpha1 : {0.0, 0.001, 1e300, most, double(hard)}) {
                for (const double alpha2 : {0.0, 0.001, 1.0, most, double(hard)}) {
                    if (alpha1 == 0 && alpha2 == 0) continue;
                    INFO("reward " << x << ", alphas " << alpha0 << ", " << alpha1 << ", " << alpha2);
                    const auto problem = problem_of<Quadratic>(reward, alpha0, alpha1, alpha2);
                    const auto solution = Newton{}.solve(problem);
                    const Vector<double>& f = solution.feature_potential;
                    const Vector<double>& g = solution.instance_potential;
                    CHECK((f.allFinite() && g.allFinite()));
                    CHECK((solution.converged() || solution.status == Status::mass_out_of_range));
                    if (!solution.converged()) continue;
                    const Matrix<double> slack = ((reward / 8).colwise() + f / 8).rowwise() + (g / 8).transpose();
                    const Matrix<double> expected = slack.cwiseMax(0) / (alpha0 / 4);
                    CHECK((solution.plan() - expected).cwiseAbs().maxCoeff() <= 1e-11 * expected.maxCoeff());
                    // Of larger potentials, rounding is more than alphas.
                    if (x < 1e300) CHECK(marginal_violation(solution) < 1e-8);
                }
            }
        }
    }
}

TEST_CASE("A marginal far weaker than the other has the potential of its mass") {
    const Matrix<double> reward{{0, 1, 1}};
    const Matrix<double> turned = reward.transpose();
    for (const double weak : {1e-10, 1e-17, 1e-100, 1e-300}) {
        INFO("weaker by " << weak);
        const auto check = [](const auto& solution) {
            CHECK(solution.converged());
            CHECK(marginal_violation(solution) < 1e-7);
        };
        for (const Matrix<double>& bag : {reward, turned}) {
            check(Newton{}.solve(problem_of<Quadratic>(bag, 1, 1, weak)));
            check(Newton{}.solve(problem_of<Quadratic>(bag, 1, weak, 1)));
            if (weak < 1e-14) continue;  // at alpha0 = 0 potentials are differences of rewards, and have their rounding
            check(ActiveSet{}.solve(problem_of<Entropy>(bag, 0, 1, weak)));
            check(ActiveSet{}.solve(problem_of<Entropy>(bag, 0, weak, 1)));
        }
    }
}

TEMPLATE_TEST_CASE("The log mass is finite where the reward over the alphas is not", "", Entropy, RelativeEntropy) {
    for (const double x : {-3e76, 3e76}) {
        const Matrix<double> reward = Matrix<double>::Constant(1, 1, x);
        const auto problem = problem_of<TestType>(reward, 1e-300, 1e-300, 1e-300);
        const auto check = [](const auto& solution) {
            CHECK(solution.status == Status::mass_out_of_range);
            CHECK(std::isfinite(solution.log_mass));
            CHECK(std::isfinite(solution.objective()));
            CHECK(solution.feature_marginal().allFinite());
        };
        check(Sinkhorn{}.solve(problem));
        check(Newton{}.solve(problem));
        check(BregmanAdmm{}.solve(problem));
    }
}

TEST_CASE("BregmanAdmm keeps forbidden pairs empty where rewards are alike and large") {
    Matrix<float> reward = Matrix<float>::Constant(4, 2, -8.1e10F);
    reward(0, 0) = -std::numeric_limits<float>::infinity();
    for (const float alpha0 : {1e-14F, 1e-3F, 1.0F, 1e10F}) {
        const UotProblem<float, Quadratic> problem{.reward = reward,
                                                   .values = Matrix<float>::Ones(4, 2),
                                                   .alpha0 = alpha0,
                                                   .features = {.alpha = 0},
                                                   .instances = {.alpha = 1}};
        const auto solution = BregmanAdmm{{.max_iterations = 200, .closed_forms = false}}.solve(problem);
        CHECK(solution.plan()(0, 0) == 0);
        CHECK(solution.mass() < 1e-30F);  // exp(-8.1e10), at most
    }
}

TEST_CASE("A closed form keeps its alphas where the reward is near the end of the range") {
    for (const double x : {1e200, 1e301, 6e303, 1e307}) {
        const Matrix<double> reward = Matrix<double>::Constant(1, 1, x);
        const auto solution = ClosedForm{}.solve(problem_of<Quadratic>(reward, 1, 1, 0));
        CHECK(solution.converged());
        CHECK(solution.plan()(0, 0) == Catch::Approx(x / 2));  // of 2 alpha0 P + log P = x, in double
        CHECK(solution.feature_potential[0] == Catch::Approx(-std::log(x / 2)));
    }
}

TEST_CASE("BregmanAdmm's marginal gives its potential where alpha0 keeps it from its prior") {
    const Matrix<double> reward = Matrix<double>::Zero(1, 2);
    UotProblem<double> problem = problem_of<Entropy>(reward, 1, 1, 4.4e-312);
    problem.instances.prior = Vector<double>{{5.0 / 6, 1.0 / 6}};
    for (const int steps : {1, 100}) {
        const auto solution = BregmanAdmm{{.max_iterations = steps}}.solve(problem);
        CHECK((!solution.converged() || marginal_violation(solution) < 1e-6));
        const Vector<double> ratio = solution.instance_marginal().cwiseQuotient(problem.instances.prior);
        for (Index n = 0; n < 2; ++n)
            CHECK(std::log(ratio[n]) == Catch::Approx(-solution.instance_potential[n] / 4.4e-312));
    }
}

TEMPLATE_TEST_CASE("A plan whose mass is near the end of the scalar's range keeps its entries", "", float, double) {
    using Scalar = TestType;
    const Scalar most = std::numeric_limits<Scalar>::max();
    Matrix<Scalar> reward = Matrix<Scalar>::Zero(4, 8);
    reward(2, 0) = 1;
    for (const Scalar mass : {most / 1000, most / 10, most / 4, most / 2}) {
        INFO("mass " << mass);
        UotProblem<Scalar, RelativeEntropy> problem{
            .reward = reward, .alpha0 = 0, .features = {.alpha = 0}, .instances = {.alpha = hard}};
        problem.instances.prior = Vector<Scalar>::Ones(8);
        problem.instances.prior[0] = mass;
        problem.instances.has_masses = true;
        const auto solution = ClosedForm{}.solve(problem);
        CHECK(solution.converged());
        // The log of 1e308 is 709, so exp loses some digits.
        const auto is_mass = [&](Scalar entry) { return std::abs(entry - mass) < mass / 10000; };
        CHECK(is_mass(solution.plan()(2, 0)));
        CHECK(is_mass(solution.feature_marginal()[2]));
        CHECK(is_mass(solution.instance_marginal()[0]));
        CHECK(is_mass(solution.mass()));
        // Four times that mass may be beyond the range; of zeros it still pools zero.
        problem.values = Matrix<Scalar>::Zero(4, 8);
        const Vector<Scalar> nothing = JointReadout{}(ClosedForm{}.solve(problem));
        CHECK((nothing.array() == 0).all());
    }
}

TEMPLATE_TEST_CASE("The objective is within the range where its terms are not", "", float, double) {
    using Scalar = TestType;
    const Scalar most = std::numeric_limits<Scalar>::max();
    const Matrix<Scalar> reward = Matrix<Scalar>::Zero(4, 1);
    Vector<Scalar> masses(4);
    masses << Scalar(1e30), Scalar(0.1), Scalar(0.1), Scalar(0.1);
    for (const Scalar alpha0 : {Scalar(1e6), most}) {
        for (const Scalar alpha1 : {Scalar(1e-30), Scalar(1), most}) {
            for (const Scalar alpha2 : {Scalar(0), Scalar(1), most, std::numeric_limits<Scalar>::infinity()}) {
                INFO("alphas " << alpha0 << ' ' << alpha1 << ' ' << alpha2);
                UotProblem<Scalar> problem{
                    .reward = reward, .alpha0 = alpha0, .features = {.alpha = alpha1}, .instances = {.alpha = alpha2}};
                problem.features.prior = masses;
                problem.features.has_masses = true;
                CHECK(std::isfinite(Sinkhorn{{.closed_forms = false}}.solve(problem).objective()));
            }
        }
    }
    // Large terms that do not leave the range: 2 most/8 + 2 most/8, most/8 KL(1/2 | 1/4) twice.
    UotProblem<Scalar> problem{.reward = Matrix<Scalar>::Constant(4, 1, -most / 4), .alpha0 = most / 4};
    problem.features = {.alpha = 0};
    problem.instances = {.alpha = hard};
    const double of_entropy = -std::log(4.0) - 1;  // <P, log P - 1>
    CHECK(std::abs(double(ClosedForm{}.solve(problem).objective() / most) - (0.25 + of_entropy / 4)) < 1e-5);
}

TEST_CASE("No feature draws on a forbidden instance, however small alpha0 is") {
    const double none = -std::numeric_limits<double>::infinity();
    const Matrix<double> reward{{none, 2e5, -7e5, -7e5}, {none, -7e5, -7e5, -7e5}, {900, -7e5, -7e5, none}};
    Matrix<double> values = Matrix<double>::Random(3, 4);
    for (Index d = 0; d < 3; ++d) {
        for (Index n = 0; n < 4; ++n) values(d, n) = reward(d, n) == none ? 1e9 : values(d, n);
    }
    const auto is_mean_of_allowed = [&](const UotProblem<double>& problem, const auto& solver) {
        Vector<double> pooled(3);
        solver.pool(problem, pooled);
        const Vector<double> of_plan = ConditionalReadout{}(solver.solve(problem));
        return pooled.cwiseAbs().maxCoeff() <= 1 && of_plan.cwiseAbs().maxCoeff() <= 1;
    };
    for (const double alpha0 : {1e-80, 1e-100, 1e-200, 1e-300, std::numeric_limits<double>::denorm_min()}) {
        for (const double alpha1 : {1e-300, 0.1, 1.0, double(hard)}) {
            for (const double alpha2 : {1e-300, 0.1, 1.0}) {
                INFO("alphas " << alpha0 << ' ' << alpha1 << ' ' << alpha2);
                auto problem = problem_of<Entropy>(reward, alpha0, alpha1, alpha2);
                problem.values = values;
                CHECK(is_mean_of_allowed(problem, Sinkhorn{{.max_iterations = 20}}));
                CHECK(is_mean_of_allowed(problem, Newton{{.max_iterations = 20}}));
                CHECK(is_mean_of_allowed(problem, Sinkhorn{{.iterations = 3}}));
            }
        }
    }
}

TEST_CASE("Soft alphas far above alpha0 keep their marginals, or it is said that they are lost") {
    for (const double alpha0 : {1e-80, 1e-120, 1e-300, std::numeric_limits<double>::denorm_min()}) {
        for (const double alpha1 : {1e-3, 2.0, 1e30}) {
            for (const double alpha2 : {2.0, 1e3}) {
                for (const double x : {0.0, 1.5}) {
                    INFO("alphas " << alpha0 << ' ' << alpha1 << ' ' << alpha2 << ", reward " << x);
                    const Matrix<double> reward = Matrix<double>::Constant(3, 2, x);
                    const auto problem = problem_of<Entropy>(reward, alpha0, alpha1, alpha2);
                    const auto sinkhorn = Sinkhorn{}.solve(problem);
                    CHECK((!sinkhorn.converged() || marginal_violation(sinkhorn) < 1e-6));
                    const auto newton = Newton{}.solve(problem);
                    CHECK((!newton.converged() || marginal_violation(newton) < 1e-6));
                    CHECK((alpha0 < 1e-100 || (sinkhorn.converged() && newton.converged())));
                }
            }
        }
    }
}

TEST_CASE("Newton pools rewards whose differences overflow") {
    const double most = std::numeric_limits<double>::max();
    const Matrix<double> reward{{-most, -most, 1}, {-most, most, 1}, {most, 1, most}};
    // (With larger alphas, potentials are beyond the range.)
    for (const double alpha0 : {most / 8, most / 1e4, double(hard)}) {
        for (const double alpha : {1.0, most / 8, double(hard)}) {
            INFO("alphas " << alpha0 << ' ' << alpha);
            const auto problem = problem_of<Entropy>(reward, alpha0, alpha, alpha);
            for (const auto& solution :
                 {Newton{{.closed_forms = false}}.solve(problem), Sinkhorn{{.closed_forms = false}}.solve(problem)}) {
                CHECK(solution.plan().allFinite());
                CHECK(solution.feature_potential.allFinite());
                // At alpha0 = inf, soft alphas do not count.
                const bool counts = std::isfinite(alpha0) || std::isinf(alpha);
                CHECK((!solution.converged() || !counts || marginal_violation(solution) < 1e-6));
            }
        }
    }
    // Hard marginals in closed form: of two of each, P = ((1 - s)/2, s/2; s/2, (1 - s)/2), logit s = (cross - own) / 2 alpha0.
    const Matrix<double> opposed{{most, -most}, {-most, most}};
    const auto solution = Newton{}.solve(problem_of<Entropy>(opposed, most / 4, hard, hard));
    CHECK(solution.converged());
    CHECK(std::abs(solution.plan()(0, 1) - 0.5 / (1 + std::exp(8.0))) < 1e-12);
}

TEST_CASE("ActiveSet does not converge on marginals that are not numbers") {
    for (const double x : {1.0, 547029310.70533276, 1e300}) {
        for (const double alpha2 : {std::numeric_limits<double>::denorm_min(), 1e-300, 1e-30, 1e-8}) {
            for (const double alpha1 : {1e-300, 1.0, 1e6}) {
                INFO("alphas " << alpha1 << ' ' << alpha2 << ", reward " << x);
                Matrix<double> reward = Matrix<double>::Zero(6, 8);
                reward(0, 0) = x;
                const auto solution = ActiveSet{}.solve(problem_of<Entropy>(reward, 0, alpha1, alpha2));
                CHECK((!solution.converged() || marginal_violation(solution) < 1e-6));
            }
        }
    }
}

TEST_CASE("Alphas whose sum is beyond the range grow the mass as others do") {
    const double most = std::numeric_limits<double>::max();
    const auto check_mass = [](const auto& solution, double x) {
        const auto& problem = solution.problem;
        const double log_mass = x / 4 / (problem.features.alpha / 4 + problem.instances.alpha / 4);
        CHECK(solution.converged());
        CHECK(std::abs(solution.log_mass - log_mass) < 1e-12);
        CHECK(std::abs(solution.feature_potential[0] / problem.features.alpha + log_mass) < 1e-12);
        CHECK(std::abs(solution.instance_potential[0] / problem.instances.alpha + log_mass) < 1e-12);
    };
    for (const double x : {most, -most, most / 1e6}) {
        for (const double alpha2 : {most, most / 2, most / 1e3}) {
            INFO("alpha2 " << alpha2 << ", reward " << x);
            const Matrix<double> reward = Matrix<double>::Constant(2, 3, x);
            check_mass(ActiveSet{}.solve(problem_of<Entropy>(reward, 0, most, alpha2)), x);
            for (const bool closed_forms : {false, true}) {
                const Options options{.closed_forms = closed_forms};
                check_mass(Newton{options}.solve(problem_of<Quadratic>(reward, 1e-14, most, alpha2)), x);
                const auto entropic = problem_of<RelativeEntropy>(reward, most / 1e40, most, alpha2);
                check_mass(Sinkhorn{options}.solve(entropic), x);
                check_mass(Newton{options}.solve(entropic), x);
            }
        }
    }
}

TEST_CASE("A Quadratic line keeps its mean where its mass is beyond the range, or next to nothing") {
    Matrix<double> reward = Matrix<double>::Constant(6, 2, 1e12);
    reward.col(1) << -1e30, -1, -1, -1e30, -1, -1;
    for (const double alpha0 : {1e-300, 1e6}) {
        for (const double alpha2 : {std::numeric_limits<double>::denorm_min(), 1e-300}) {
            INFO("alphas " << alpha0 << ' ' << alpha2);
            const auto solution = ClosedForm{}.solve(problem_of<Quadratic>(reward, alpha0, 0, alpha2));
            CHECK(std::isfinite(solution.residual));
            CHECK((ConditionalReadout{}(solution).array() / 1e12 - 1).abs().maxCoeff() < 1e-12);
            CHECK(std::abs(solution.instance_potential[1] - 1) < 1e-12);
        }
    }
}

TEMPLATE_TEST_CASE("BregmanAdmm does not end while its plan is far from its potentials", "", Entropy, RelativeEntropy) {
    Matrix<double> reward(5, 1);
    Vector<double> prior(5);
    prior << 1e-27, 1e-30, 1e-30, 1e-30, 1;
    for (const double x : {100.0, 1000.0, 3667.7, 1e4}) {
        INFO("reward " << x);
        reward << 92.9, x, 0, 0, 0;
        auto problem = problem_of<TestType>(reward, 1, 1, 0);
        problem.features.prior = prior;
        const auto solution = BregmanAdmm{{.max_iterations = 20, .closed_forms = false}}.solve(problem);
        // The instance is free, so log P_d = x_d + f_d + [log p_d] = log p_d - f_d.
        const double weight = TestType::prior_weight == 0 ? std::log(prior[1]) : 0;
        const double potential = (weight - x) / 2;
        CHECK((!solution.converged() || std::abs(solution.feature_potential[1] - potential) < 1e-6));
    }
}

TEST_CASE("BregmanAdmm on Quadratic sees a distance beside forbidden pairs") {
    Matrix<double> reward = Matrix<double>::Zero(2, 3);
    const Matrix<double> values = Matrix<double>::Ones(2, 3);
    for (const double lowest : {0.0, -std::numeric_limits<double>::infinity()}) {
        for (const double alpha0 : {1e-300, 1e-100, 1e-10}) {
            INFO("alpha0 " << alpha0 << ", reward " << lowest);
            reward(0, 0) = lowest;
            auto problem = problem_of<Quadratic>(reward, alpha0, 0, 0);
            problem.values = values;
            // Both sides are free: P = X / (2 alpha0) = 0.
            const auto solution = BregmanAdmm{{.max_iterations = 20, .closed_forms = false}}.solve(problem);
            CHECK((!solution.converged() || solution.plan().maxCoeff() < 1e-6));
        }
    }
}

TEST_CASE("A Quadratic line does not converge where its entries are beyond the range") {
    for (const double x : {1e5, 1e9, 1e18, 1e300}) {
        for (const double alpha1 : {1e-300, 1e-200, 1.0}) {
            INFO("alpha1 " << alpha1 << ", reward " << x);
            const Matrix<double> reward = Matrix<double>::Constant(2, 1, x);
            const auto solution = ClosedForm{}.solve(problem_of<Quadratic>(reward, 1e-300, alpha1, 0));
            // x + f = 2 alpha0 P, where log P = log p - f / alpha1.
            const double f = solution.feature_potential[0];
            const double log_entry = std::log(x + f) - std::log(2e-300);
            CHECK(solution.converged() == (x < 1e8));
            if (solution.converged()) CHECK(std::abs(log_entry + std::log(2.0) - solution.log_mass) < 1e-6);
        }
    }
}

TEST_CASE("Newton's plan is a number where a column of Quadratic has no mass that is one") {
    const float none = -std::numeric_limits<float>::infinity();
    const Matrix<float> reward{{none, 0, -9e21f, 0, 0, 0},
                               {none, none, 0, 0, 0, 0},
                               {1.3e21f, none, 0, 0, 0, 0},
                               {1.3e23f, -9e21f, 0, 0, 0, 0}};
    const Matrix<float> values = Matrix<float>::Zero(4, 6);
    UotProblem<float, Quadratic> problem{.reward = reward, .values = values, .alpha0 = 1e-14f};
    problem.features = {.alpha = 1e-14f, .has_masses = true};
    problem.instances = {.alpha = 1e-14f, .prior = Vector<float>{{1, 1, 1, 1e-3f, 1e-3f, 1e-3f}}, .has_masses = true};
    for (const int iterations : {1, 2, 5, 200}) {
        const auto solution = Newton{{.max_iterations = iterations, .closed_forms = false}}.solve(problem);
        CHECK(solution.plan().allFinite());
        CHECK(std::isfinite(solution.log_mass));
    }
}

}  // namespace fuzzed_test
