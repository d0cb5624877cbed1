#include <stdexcept>
#include <string>
#include <vector>

#include "otpool/core/execution.hpp"
#include "otpool/pooling/batch.hpp"
#include "support/backwards.hpp"
#include "support/catch.hpp"

// What execution policies are asked to do, with one that runs its tasks backwards and deals them out to three workers.

namespace execution_test {

using namespace otpool;
using tests::Backwards;

static_assert(ExecutionPolicy<Sequential>);
static_assert(ExecutionPolicy<Backwards>);
static_assert(!ExecutionPolicy<int>);

TEST_CASE("Every task is run once") {
    for (const Execution& execution : {Execution(), Execution(Sequential{}), Execution(Backwards{})}) {
        for (const Index count : {0, 1, 2, 10}) {
            std::vector<int> runs(static_cast<std::size_t>(count));
            execution.for_each(count, [&](Index i, Index worker) {
                ++runs[static_cast<std::size_t>(i)];
                CHECK((worker >= 0 && worker < execution.workers()));
            });
            CHECK(runs == std::vector<int>(static_cast<std::size_t>(count), 1));
        }
    }
}

TEST_CASE("The error of the first of the tasks that throw is thrown, whatever their order") {
    for (const Execution& execution : {Execution(), Execution(Backwards{})}) {
        const auto run = [&] {
            execution.for_each(9, [](Index i, Index) {
                if (i == 3 || i == 7) throw std::runtime_error("task " + std::to_string(i));
            });
        };
        CHECK_THROWS_WITH(run(), "task 3");
    }
}

TEST_CASE("Parts cover all instances, whatever is asked of their size") {
    for (const Index rows : {1, 3, 1000, 1'000'000}) {
        for (const Index cols : {1, 17, 1'000'000, 30'000'000}) {
            for (const Index multiple : {1, 16, 4096}) {
                const detail::InstanceParts parts(rows, cols, multiple);
                CHECK(parts.first(0) == 0);
                CHECK(parts.end(parts.count() - 1) == cols);
                bool adjoin = true;
                for (Index part = 1; part < parts.count(); ++part) {
                    adjoin = adjoin && parts.first(part) == parts.end(part - 1) && parts.size(part) > 0 &&
                             parts.first(part) % multiple == 0;
                }
                CHECK(adjoin);
                CHECK(parts.count() <= 128);
            }
        }
    }
}

TEST_CASE("A bag that is more than a worker's share of a batch is shared out itself") {
    const Matrix<float> instances = Matrix<float>::Zero(2, 100);
    const Bags<float> bags(instances, {0, 10, 90, 90, 100});
    std::vector<Index> workers(4);
    detail::for_each_bag(bags, Backwards{}, [&](Index b, const Execution& inside, Index) {
        workers[static_cast<std::size_t>(b)] = inside.workers();
    });
    CHECK(workers == std::vector<Index>{1, 3, 1, 1});
    // Of several bags that throw it is the first one's error that is thrown, be that shared out or not.
    for (const Index first : {0, 1, 2}) {
        const auto run = [&] {
            detail::for_each_bag(bags, Backwards{}, [&](Index b, const Execution&, Index) {
                if (b >= first) throw std::runtime_error("bag " + std::to_string(b));
            });
        };
        CHECK_THROWS_WITH(run(), "bag " + std::to_string(first));
    }
}

}  // namespace execution_test
