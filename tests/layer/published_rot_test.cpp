#include <algorithm>
#include <cmath>
#include <cstdint>

#include "otpool/layer/published_rot.hpp"
#include "otpool/solver/structural.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/random_bags.hpp"
#include "support/sample.hpp"

// What the released plans with a structural term are, and are not: compared with stationary points of the problems.

namespace published_rot_test {

using namespace otpool;
using namespace tests;

struct Sample {
    published::RotInputs inputs;

    explicit Sample(std::uint64_t seed) {
        Random random(seed);
        const Index D = 4;
        const Index N = 6;
        inputs.reward = random_bag<double>(random, D, N, BagKind::normal);
        const RealMatrix a = random_bag<double>(random, D, 9, BagKind::normal);
        const RealMatrix b = random_bag<double>(random, N, 9, BagKind::normal);
        inputs.structure.C1 = a * a.transpose() / 9;
        inputs.structure.C2 = b * b.transpose() / 9;
        inputs.p0 = uneven_prior<double>(random, D, false);
        inputs.q0 = uneven_prior<double>(random, N, false);
        inputs.added_to_q0 = 0;
    }

    /// A stationary point with the term -(alpha / 2) <C1 P C2, P>, near this plan.
    RealMatrix stationary(double alpha0, double alpha, double alpha1, const RealMatrix& near) const {
        const UotProblem<double> problem{.reward = inputs.reward,
                                         .alpha0 = alpha0,
                                         .features = {.alpha = alpha1, .prior = inputs.p0},
                                         .instances = {.alpha = hard, .prior = inputs.q0}};
        const Vector<double> f = Vector<double>::Zero(inputs.reward.rows());
        Structural<> solver{.options = {.tolerance = 1e-10},
                            .feature_structure = inputs.structure.C1,
                            .instance_structure = inputs.structure.C2,
                            .alpha = alpha};
        const auto cold = solver.solve(problem);
        auto start = cold;
        start.log_plan = detail::LogPlan(
            [near](Index k, Real* score) {
                for (Index d = 0; d < near.rows(); ++d) score[d] = std::log(near(d, k));
            },
            RealVector(f), cold.log_plan.active());
        const auto found = solver.solve(problem, {.warm_start = &start});
        CHECK(found.converged());
        return found.plan();
    }
};

TEST_CASE("rot_badmm solves the balanced problem, with twice the structural term") {
    for (std::uint64_t seed = 0; seed < 6; ++seed) {
        if (!in_sample(seed)) continue;
        const Sample sample(seed);
        const published::Step step{.alpha0 = 0.5, .alpha1 = 0.3, .alpha2 = 3, .rho = 2, .alpha_s = 0.3};
        const RealMatrix plan = published::rot_badmm<Entropy>(sample.inputs, step, 20000);
        const RealMatrix optimum = sample.stationary(step.alpha0, 2 * step.alpha_s, hard, plan);
        const RealMatrix earlier = published::rot_badmm<Entropy>(sample.inputs, step, 2000);
        const double off = (plan - optimum).cwiseAbs().maxCoeff();
        const double off_earlier = (earlier - optimum).cwiseAbs().maxCoeff();
        // It converges slowly: ten times the steps bring it only some five times nearer.
        INFO("seed " << seed << ", largest difference " << off << ", after 2000 steps " << off_earlier);
        CHECK(off <= 5e-5);
        CHECK(off <= off_earlier / 2);
        // alpha1 and alpha2 have no effect.
        published::Step other = step;
        other.alpha1 = 30;
        other.alpha2 = 0.01;
        CHECK((published::rot_badmm<Entropy>(sample.inputs, other, 5) -
               published::rot_badmm<Entropy>(sample.inputs, step, 5))
                  .cwiseAbs()
                  .maxCoeff() <= 1e-13);
    }
}

TEST_CASE("rot_sinkhorn is a proximal method only where alpha0 + tau is 1") {
    for (std::uint64_t seed = 0; seed < 6; ++seed) {
        if (!in_sample(seed)) continue;
        const Sample sample(seed);
        // As good as hard instances.
        published::Step step{.alpha0 = 0.6, .alpha1 = 2, .alpha2 = 1e14, .alpha_s = 0.3};
        const RealMatrix plan = published::rot_sinkhorn(sample.inputs, step, 0.4, 60, 200);
        const RealMatrix optimum = sample.stationary(step.alpha0, step.alpha_s, step.alpha1, plan);
        INFO("seed " << seed << ", largest difference " << (plan - optimum).cwiseAbs().maxCoeff());
        CHECK((plan - optimum).cwiseAbs().maxCoeff() <= 1e-6);
        const RealMatrix off = published::rot_sinkhorn(sample.inputs, step, 0.9, 60, 200);
        INFO("at alpha0 + tau = 1.5: " << (off - optimum).cwiseAbs().maxCoeff());
        CHECK(!((off - optimum).cwiseAbs().maxCoeff() <= 1e-3));
    }
}

TEST_CASE("The released plans with a structural term refuse what has no shape") {
    Sample sample(1);
    sample.inputs.structure.C2.conservativeResize(3, 3);
    CHECK(message_of<InvalidArgument>([&] { published::rot_badmm(sample.inputs, {}, 3); }) ==
          "shape of C2 is 3 x 3; allowed: 6 x 6");
    CHECK(message_of<InvalidArgument>([&] { published::rot_sinkhorn(Sample(1).inputs, {}, 1, 0); }) ==
          "steps is 0; allowed: at least 1");
}

}  // namespace published_rot_test
