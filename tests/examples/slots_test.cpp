#include <sys/wait.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "slots/made_up.hpp"
#include "slots/poolings.hpp"
#include "support/catch.hpp"
#include "support/k_means.hpp"
#include "support/npy.hpp"
#include "support/temporary_directory.hpp"

namespace slots_test {

using slots::Data;
using slots::Index;
using slots::Matrix;

TEST_CASE("Made-up bags are repeatable, with five groups each") {
    const Data data = slots::made_up(10, 3);
    CHECK(slots::made_up(10, 3).instances == data.instances);
    REQUIRE(data.offsets.size() == 11);
    CHECK(data.instances.cols() == data.offsets.back());
    REQUIRE(data.groups.size() == static_cast<std::size_t>(data.instances.cols()));
    for (std::size_t b = 0; b < 10; ++b) {
        std::array<int, 6> counts = {};
        for (auto n = data.offsets[b]; n < data.offsets[b + 1]; ++n) {
            ++counts[static_cast<std::size_t>(data.groups[static_cast<std::size_t>(n)] + 1)];
        }
        for (std::size_t g = 1; g < 6; ++g) CHECK((counts[g] >= 2 && counts[g] <= 20));
        CHECK(counts[0] == (counts[1] + counts[2] + counts[3] + counts[4] + counts[5]) / 3);
    }
}

TEST_CASE("Solves converge, and no alternation makes the optimum worse") {
    const Data data = slots::made_up(6, 4);
    const auto bags = data.bags();
    const Matrix start = data.instances(Eigen::all, support::drawn_columns(data.instances.cols(), 5, 2));
    for (auto& [name, pooling] : slots::all_poolings(start, 0.5, 2)) {
        CAPTURE(name);
        double last = 0;
        for (int i = 0; i < 6; ++i) {
            double objective = 0;  // to be minimised
            for (Index b = 0; b < bags.size(); ++b) {
                const auto solution = pooling.solve(bags[b]);
                CHECK(solution.converged());
                objective += solution.objective();
            }
            if (i > 0) CHECK(objective <= last + 1e-5 * std::abs(last));
            last = objective;
            pooling.reward.prototypes = slots::moved_prototypes(pooling, bags);
        }
    }
}

TEST_CASE("The four sets of parameters have the marginals that they should have") {
    const Data data = slots::made_up(3, 5);
    const Matrix start = support::k_means(data.instances, 5, {.seed = 1}).centres;
    const auto poolings = slots::all_poolings(start, 0.2, 2);
    for (Index b = 0; b < 3; ++b) {
        const auto bag = data.bags()[b];
        const auto N = static_cast<double>(bag.instances.cols());
        const auto rows = [&](std::size_t i) { return poolings[i].pooling.plan(bag).rowwise().sum().eval(); };
        const auto columns = [&](std::size_t i) { return poolings[i].pooling.plan(bag).colwise().sum().eval(); };
        CHECK((columns(0).array() * N - 1).abs().maxCoeff() < 1e-4);
        CHECK((columns(1).array() * N - 1).abs().maxCoeff() < 1e-4);
        CHECK((rows(1).array() * 5 - 1).abs().maxCoeff() < 1e-4);
        CHECK((rows(2).array() * 5 - 0.7).abs().maxCoeff() < 1e-4);
        CHECK(columns(2).maxCoeff() * N < 1 + 1e-4);
    }
}

TEST_CASE("The character of plans counts instances, slots and groups") {
    CHECK(slots::detail::effective(Matrix{{0.25, 0.25, 0.25, 0.25}}) == Catch::Approx(4));
    CHECK(slots::detail::effective(Matrix{{0.5, 0, 0}, {0, 0.25, 0.25}}) == Catch::Approx(1.5));
    const std::array<Index, 4> groups = {0, 0, 1, -1};
    CHECK(slots::detail::mass_of_groups(Matrix{{0.2, 0.1, 0, 0.1}, {0, 0.1, 0.3, 0.2}}, groups.data()) ==
          Catch::Approx(0.6));
}

#ifdef SLOTS_PROGRAM

int status_of(const std::filesystem::path& directory, const std::string& arguments) {
    const int status = std::system(
        ("cd '" + directory.string() + "' && '" SLOTS_PROGRAM "' " + arguments + " >/dev/null 2>&1").c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_CASE("slots refuses bad options and input, and leaves nothing behind") {
    const tests::TemporaryDirectory directory;
    for (const char* bad : {"--slots 0", "--slots many", "--start random", "--alpha0 0", "--alternations -1",
                            "--output no/where.png", "--ptr ptr.npy", "--input none.npy", "five"}) {
        CAPTURE(bad);
        CHECK(status_of(directory.path(), bad) == 2);
    }
    CHECK(std::filesystem::is_empty(directory.path()));
    CHECK(status_of(directory.path(), "--help") == 0);
}

TEST_CASE("slots draws made-up bags and those of a file") {
    const tests::TemporaryDirectory directory;
    CHECK(status_of(directory.path(), "--start sample --alternations 2") == 0);
    CHECK(std::filesystem::file_size(directory / "slots.png") > 0);
    const Data data = slots::made_up(4, 6);
    const Eigen::Matrix<std::int64_t, Eigen::Dynamic, 1> ptr =
        Eigen::Map<const Eigen::Matrix<std::int64_t, Eigen::Dynamic, 1>>(data.offsets.data(),
                                                                         static_cast<Index>(data.offsets.size()));
    support::write_npy(directory / "X.npy", data.instances);
    support::write_npy(directory / "ptr.npy", ptr);
    CHECK(status_of(directory.path(), "--input X.npy --ptr ptr.npy --slots 3 --output bags.png") == 0);
    CHECK(std::filesystem::file_size(directory / "bags.png") > 0);
    CHECK(status_of(directory.path(), "--input X.npy --slots 1000 --output more.png") == 2);
}

#endif

}  // namespace slots_test
