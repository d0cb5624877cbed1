#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "otpool/learning.hpp"
#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/random_bags.hpp"
#ifdef OTPOOL_TEST_OPENMP
#include "otpool/adapter/openmp.hpp"
#endif
#ifdef OTPOOL_TEST_ONETBB
#include "otpool/adapter/onetbb.hpp"
#endif

// Whatever shares the work out, the bits are those of one thread.

#ifdef OTPOOL_TEST_FLOAT_ONLY  // under the thread sanitizer: races do not depend on the scalar
#define OTPOOL_TEST_SCALARS float
#else
#define OTPOOL_TEST_SCALARS float, double
#endif

namespace execution_policies_test {

using namespace otpool;
using tests::Random;

struct Named {
    std::string name;
    Execution execution;
};

std::vector<Named> policies() {
    std::vector<Named> all;
#ifdef OTPOOL_TEST_OPENMP
    all.push_back({"OpenMp", OpenMp{}});
    for (const int threads : {1, 2, 3, 5}) all.push_back({"OpenMp " + std::to_string(threads), OpenMp{threads}});
#endif
#ifdef OTPOOL_TEST_ONETBB
    all.push_back({"OneTbb", OneTbb()});
    for (const int threads : {1, 2, 3, 5}) all.push_back({"OneTbb " + std::to_string(threads), OneTbb(threads)});
#endif
    return all;
}

/// A batch of normal instances.
template <class Scalar>
struct Batch {
    Matrix<Scalar> instances;
    std::vector<std::int64_t> offsets = {0};

    Batch(Index features, const std::vector<Index>& sizes) {
        for (const Index size : sizes) offsets.push_back(offsets.back() + size);
        instances.resize(features, offsets.back());
        Random random(7);
        for (Scalar& entry : instances.reshaped()) entry = static_cast<Scalar>(random.normal());
    }
    Bags<Scalar> bags() const { return {instances, offsets}; }
};

// Many small bags, one large one, one large one among small ones, large ones of few features, and of many.
template <class Scalar>
std::vector<Batch<Scalar>> batches() {
    return {{20, {30, 1, 50, 7, 300, 41, 41, 8, 100}},
            {64, {17'000}},
            {40, {60, 9000, 3, 3000, 5}},
            {3, {60'000, 90'000}},
            {1500, {300, 10}}};
}

/// Checks that make(pooling with the execution)(bags) is the same for every policy.
template <class Scalar, class Pooling>
void check_pooling(Pooling pooling) {
    for (const auto& batch : batches<Scalar>()) {
        pooling.execution = {};
        const Matrix<Scalar> expected = pooling(batch.bags());
        REQUIRE(expected.allFinite());
        for (const auto& [name, execution] : policies()) {
            INFO(name << ", D = " << batch.instances.rows() << ", N = " << batch.instances.cols());
            pooling.execution = execution;
            CHECK(pooling(batch.bags()) == expected);
        }
    }
}

template <class Scalar>
constexpr PoolingParameters<Scalar> parameters() {
    return {.alpha0 = Scalar(0.3), .features = {.alpha = 2}, .instances = {.alpha = Scalar(0.5)}};
}

TEMPLATE_TEST_CASE("Pooling gives the same bits by every execution policy", "", OTPOOL_TEST_SCALARS) {
    using Scalar = TestType;
    check_pooling<Scalar>(Pooling<Scalar>{.parameters = parameters<Scalar>(), .solver = {{.iterations = 3}}});
    check_pooling<Scalar>(
        Pooling<Scalar, BregmanAdmm>{.parameters = parameters<Scalar>(), .solver = {{.iterations = 3}}});
    check_pooling<Scalar>(max_pooling<Scalar>());
    check_pooling<Scalar>(mixed_pooling<Scalar>(Scalar(0.3)));
    // Where a float's range does not suffice and the log domain takes over
    Pooling<Scalar> sharp{.parameters = parameters<Scalar>(), .solver = {{.iterations = 2}}};
    sharp.parameters.alpha0 = Scalar(1e-3);
    check_pooling<Scalar>(sharp);
}

TEMPLATE_TEST_CASE("A solution has the same bits by every execution policy", "", OTPOOL_TEST_SCALARS) {
    using Scalar = TestType;
    const Batch<Scalar> batch(50, {6000});
    UotProblem<Scalar> problem{.reward = batch.instances,
                               .alpha0 = Scalar(0.5),
                               .features = {.alpha = 2},
                               .instances = {.alpha = Scalar(0.5)}};
    const auto expected = Sinkhorn{}.solve(problem);
    REQUIRE(expected.converged());
    for (const auto& [name, execution] : policies()) {
        INFO(name);
        const auto solution = Sinkhorn{}.solve(problem, {.execution = execution});
        CHECK(solution.iterations == expected.iterations);
        CHECK(solution.residual == expected.residual);
        CHECK(solution.feature_potential == expected.feature_potential);
        CHECK(solution.instance_potential == expected.instance_potential);
    }
}

/// Checks pooled bags and gradients, as check_pooling().
template <class Scalar, class Layer>
void check_layer(Layer layer) {
    const Batch<Scalar> batch(6, {30, 1, 50, 7, 300, 41, 9});
    const Matrix<Scalar> dL_dpooled = Matrix<Scalar>::Ones(6, 7);
    layer.execution = {};
    const auto forward = layer.forward(batch.bags());
    auto gradient = layer.backward(forward, dL_dpooled);
    for (const auto& [name, execution] : policies()) {
        INFO(name);
        layer.execution = execution;
        const auto forward_by = layer.forward(batch.bags());
        auto gradient_by = layer.backward(forward_by, dL_dpooled);
        CHECK(forward_by.pooled == forward.pooled);
        CHECK(gradient_by.instances == gradient.instances);
        const auto arrays = named_arrays<Scalar>(gradient.parameters);
        const auto arrays_by = named_arrays<Scalar>(gradient_by.parameters);
        REQUIRE(arrays.size() == arrays_by.size());
        for (std::size_t i = 0; i < arrays.size(); ++i) CHECK(arrays_by[i].values == arrays[i].values);
    }
}

TEMPLATE_TEST_CASE("Layers give the same bits by every execution policy, forward and backward", "",
                   OTPOOL_TEST_SCALARS) {
    using Scalar = TestType;
    Random random(5);
    Attention<Scalar> attention{Matrix<Scalar>::Zero(3, 6), Vector<Scalar>::Zero(3)};
    for (Scalar& entry : attention.V.reshaped()) entry = static_cast<Scalar>(random.normal());
    for (Scalar& entry : attention.w) entry = static_cast<Scalar>(random.normal());
    using Sinkhorns = UotLayer<Scalar, Sinkhorn, Entropy, Attention<Scalar>>;
    check_layer<Scalar>(Sinkhorns{.parameters = Sinkhorns::start(6, attention, true)});
    using Admm = UotLayer<Scalar, BregmanAdmm>;
    check_layer<Scalar>(Admm{.parameters = Admm::start(6)});
    check_layer<Scalar>(attention_layer<Scalar>(attention));
}

TEST_CASE("Errors name the first bag that is wrong, by every execution policy") {
    Batch<float> batch(4, {10, 2000, 10, 10, 10});
    batch.instances(2, 2015) = std::numeric_limits<float>::quiet_NaN();  // bag 2
    batch.instances(1, 1500) = std::numeric_limits<float>::infinity();   // bag 1, the large one
    for (const auto& [name, execution] : policies()) {
        INFO(name);
        Pooling<float> pooling{.parameters = parameters<float>(), .execution = execution};
        CHECK(tests::message_of<InvalidArgument>([&] { pooling(batch.bags()); }) ==
              "bag 1 at feature 1, instance 1490 is inf; allowed: finite numbers");
    }
}

TEST_CASE("Poolings within poolings, and from several threads, share one policy") {
    for (const auto& [name, execution] : policies()) {
        INFO(name);
        const Batch<float> batch(30, {100, 7000, 40, 60, 8});
        Pooling<float> pooling{.parameters = parameters<float>(), .solver = {{.iterations = 3}}};
        const Matrix<float> expected = pooling(batch.bags());
        pooling.execution = execution;
        // One that runs poolings as its tasks
        std::vector<Matrix<float>> pooled(6);
        execution.for_each(6, [&](Index i, Index) { pooled[static_cast<std::size_t>(i)] = pooling(batch.bags()); });
        for (const auto& Y : pooled) CHECK(Y == expected);
        std::vector<std::thread> threads;
        for (auto& Y : pooled) threads.emplace_back([&] { Y = pooling(batch.bags()); });
        for (auto& thread : threads) thread.join();
        for (const auto& Y : pooled) CHECK(Y == expected);
    }
}

TEST_CASE("Policies refuse numbers of threads that there cannot be") {
#ifdef OTPOOL_TEST_OPENMP
    CHECK_THROWS_WITH(Execution(OpenMp{-1}), "threads is -1; allowed: at least 1, or 0 for as many as OpenMP takes");
#endif
#ifdef OTPOOL_TEST_ONETBB
    CHECK_THROWS_WITH(OneTbb(0), "threads is 0; allowed: at least 1");
#endif
}

}  // namespace execution_policies_test
