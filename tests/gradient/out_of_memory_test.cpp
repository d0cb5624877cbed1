#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <vector>

#include "otpool/learning.hpp"
#include "otpool/otpool.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/random_bags.hpp"

// Whichever allocation fails, std::bad_alloc comes out, nothing leaks, and the memory that a solve leaves for the next is
// as good as new.

namespace out_of_memory_test {

using namespace otpool;
using tests::Random;

Matrix<double> bag_of(Index features, Index instances) {
    Random random(5);
    return tests::random_bag<double>(random, features, instances, tests::BagKind::normal);
}

/// Lets every allocation of work(workspaces) fail in turn. work() returns a matrix.
template <class Work>
void check(const std::string& name, const Work& work) {
    if (!tests::Allocations::counted) return;
    Workspaces kept;
    const Matrix<double> expected = work(kept);  // also what lives until the program ends
    std::size_t number = 1;
    for (bool failed = true; failed; ++number) {
        bool thrown = false;
        std::ptrdiff_t held = 0;
        {
            const tests::FailingAllocation failing(number);
            try {
                Workspaces fresh;
                static_cast<void>(work(fresh));
            } catch (const std::bad_alloc&) {
                thrown = true;
            }
            failed = failing.failed();
            held = failing.blocks_held();
        }
        Workspaces half_made;
        try {
            const tests::FailingAllocation failing(number);
            static_cast<void>(work(half_made));
        } catch (const std::bad_alloc&) {
        }
        const bool is_usable = work(half_made) == expected;
        if (thrown == failed && held == 0 && is_usable) continue;
        FAIL_CHECK(name << ", allocation " << number << ": " << (failed ? "failed, " : "none, ")
                        << (thrown ? "thrown, " : "not thrown, ") << held << " blocks leak, the memory is "
                        << (is_usable ? "usable" : "not usable"));
    }
    INFO(name);
    CHECK(number > 3);
}

template <class Solver, class R>
void check_solver(const std::string& name, const Solver& solver, double alpha0, double alpha1 = 1) {
    const Matrix<double> bag = bag_of(4, 7);
    UotProblem<double, R> problem{.reward = bag, .alpha0 = alpha0};
    problem.features.alpha = alpha1;
    problem.instances.alpha = 2;
    problem.instances.prior = Vector<double>::Constant(7, 1.0 / 6);
    problem.instances.prior[3] = 0;
    check(name + "::solve", [&](Workspaces& workspaces) -> Matrix<double> {
        workspaces.prepare({});
        const auto solution = solver.solve(problem, {.workspace = &workspaces.of(0)});
        const auto again = solver.solve(problem, {.warm_start = &solution, .workspace = &workspaces.of(0)});
        return again.plan() + solution.plan();
    });
    check(name + "::pool", [&](Workspaces& workspaces) -> Matrix<double> {
        workspaces.prepare({});
        Vector<double> pooled(4);
        solver.pool(problem, pooled, {.workspace = &workspaces.of(0)});
        return pooled;
    });
}

TEST_CASE("A solve without memory throws std::bad_alloc and leaks nothing") {
    const Options options{.max_iterations = 5, .history = true};
    check_solver<Sinkhorn, Entropy>("Sinkhorn", {options}, 0.5);
    check_solver<Sinkhorn, Entropy>("Sinkhorn in steps", {{.iterations = 3}}, 0.5);
    check_solver<Newton, RelativeEntropy>("Newton", {options}, 0.5);
    check_solver<Newton, Quadratic>("Newton for Quadratic", {options}, 0.5);
    check_solver<BregmanAdmm, Entropy>("BregmanAdmm", {options}, 0.5);
    check_solver<BregmanAdmm, Quadratic>("BregmanAdmm for Quadratic", {options}, 0.5);
    check_solver<ActiveSet, Entropy>("ActiveSet", {options}, 0);
    check_solver<ClosedForm, Entropy>("ClosedForm", {options}, 0.5, 0);
    check_solver<ClosedForm, Quadratic>("ClosedForm for Quadratic", {options}, 0.5, 0);
    check_solver<Automatic, Entropy>("Automatic", {options}, 0.5);
}

TEST_CASE("A batch without memory throws std::bad_alloc and leaks nothing") {
    const Matrix<double> instances = bag_of(3, 9);
    const std::vector<std::int64_t> offsets = {0, 4, 9};
    const Bags<double> bags(instances, offsets);
    const PoolingParameters<double> parameters{.alpha0 = 1, .features = {.alpha = 1}, .instances = {.alpha = 1}};
    const auto check_pooling = [&](const std::string& name, const auto& pooling) {
        check(name, [&](Workspaces& workspaces) -> Matrix<double> { return pooling(bags, workspaces); });
    };
    check_pooling("Sinkhorn", Pooling<double>{.parameters = parameters});
    check_pooling("BregmanAdmm", Pooling<double, BregmanAdmm>{.parameters = parameters, .solver = {{.iterations = 4}}});
    check_pooling("mean", mean_pooling<double>());
    check_pooling("attention", attention_pooling<double>());
}

TEST_CASE("A layer without memory throws std::bad_alloc and leaks nothing") {
    const Matrix<double> instances = bag_of(3, 9);
    const std::vector<std::int64_t> offsets = {0, 4, 9};
    const Bags<double> bags(instances, offsets);
    const Matrix<double> dL_dpooled = Matrix<double>::Ones(3, 2);
    const PoolingParameters<double> parameters{.alpha0 = 1, .features = {.alpha = 1}, .instances = {.alpha = 1}};
    const auto check_mode = [&](const std::string& name, const auto& pooling) {
        check(name, [&](Workspaces& workspaces) -> Matrix<double> {
            const auto forward = pooling.forward(bags, workspaces);
            return pooling.backward(forward, dL_dpooled, {}, workspaces).reward;
        });
    };
    check_mode("Sinkhorn's steps", DifferentiablePooling<double, Unrolled<Sinkhorn>>{
                                       .parameters = parameters, .mode = {Sinkhorn{{.iterations = 3}}}});
    check_mode("BregmanAdmm's steps", DifferentiablePooling<double, Unrolled<BregmanAdmm>>{
                                          .parameters = parameters, .mode = {BregmanAdmm{{.iterations = 3}, 0.5}}});
    using Prior = Attention<double>;
    using Layer = UotLayer<double, Sinkhorn, Entropy, Prior>;
    const Prior prior{Matrix<double>::Constant(2, 3, 0.3), Vector<double>::Ones(2)};
    const Layer layer{.parameters = Layer::start(3, prior, true), .steps = 3};
    check("UotLayer", [&](Workspaces&) -> Matrix<double> {
        const auto forward = layer.forward(bags);
        auto gradient = layer.backward(forward, dL_dpooled);
        Matrix<double> all = gradient.instances;
        for (const auto& array : named_arrays<double>(gradient)) all(0, 0) += array.values.sum();
        return all;
    });
    check_mode("the optimum",
               DifferentiablePooling<double, Implicit<Sinkhorn>>{.parameters = parameters, .mode = {Sinkhorn{}}});
}

}  // namespace out_of_memory_test
