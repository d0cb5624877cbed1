#include "support/allocations.hpp"

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "otpool/learning.hpp"
#include "support/catch.hpp"
#include "support/random_bags.hpp"

// What a bag takes of memory in a backward pass that works in the memory of the one before: little, however many steps.

namespace gradient_allocations_test {

using namespace otpool;
using tests::Random;

struct Counts {
    std::size_t forward, backward;
};

/// Allocations of both passes of a batch of 32 bags of 20 to 109 instances, `times` over.
template <class Pooling>
Counts allocations(const Pooling& pooling, Index times) {
    std::vector<std::int64_t> offsets = {0};
    for (Index b = 0; b < 32 * times; ++b) offsets.push_back(offsets.back() + 20 + (b % 32 * 37) % 90);
    Matrix<float> instances(24, offsets.back());
    Random random(3);
    for (float& entry : instances.reshaped()) entry = static_cast<float>(random.normal());
    const Bags<float> bags(instances, offsets);
    const Matrix<float> dL_dpooled = Matrix<float>::Ones(24, 32 * times);
    Workspaces workspaces;
    ProblemGradient<float> gradient;
    Counts counts{};
    for (int pass = 0; pass < 2; ++pass) {
        const tests::Allocations of_forward(1);
        const auto forward = pooling.forward(bags, workspaces);
        counts.forward = of_forward.total();
        gradient = pooling.backward(forward, dL_dpooled, std::move(gradient), workspaces);
        counts.backward = of_forward.total() - counts.forward;
        REQUIRE(gradient.reward.allFinite());
    }
    return counts;
}

template <class Solver>
void check(const auto& solver_of) {
    const auto of = [&](int steps, Index times) {
        const DifferentiablePooling<float, Unrolled<Solver>> pooling{
            .parameters = {.alpha0 = 1, .features = {.alpha = 1}, .instances = {.alpha = 1}},
            .mode = {solver_of(steps)}};
        return allocations(pooling, times);
    };
    const Counts once = of(4, 1);
    const Counts thrice = of(4, 3);
    const Counts more_steps = of(8, 3);
    CHECK(once.backward > 0);
    CHECK(thrice.backward - once.backward <= 64 * 6);  // vectors of 24 numbers
    CHECK(more_steps.backward == thrice.backward);
    CHECK(thrice.forward - once.forward <= 64 * 16);  // the tape
    CHECK(more_steps.forward == thrice.forward);
}

TEST_CASE("A bag's backward pass allocates six small vectors, its tape what does not depend on the steps") {
    if (!tests::Allocations::counted) return;  // this linker does not wrap malloc
    check<Sinkhorn>([](int steps) { return Sinkhorn{{.iterations = steps}}; });
    check<BregmanAdmm>([](int steps) { return BregmanAdmm{{.iterations = steps}, 0.5}; });
}

}  // namespace gradient_allocations_test
