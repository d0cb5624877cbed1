#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "place_recognition/experiment.hpp"
#include "support/catch.hpp"
#include "support/temporary_directory.hpp"

#ifdef PLACE_RECOGNITION_PROGRAM
#include <sys/wait.h>
#endif

namespace place_recognition_test {

using place_recognition::Aggregator;
using place_recognition::Images;
using place_recognition::Index;
using place_recognition::Matrix;
using place_recognition::World;

TEST_CASE("Worlds are repeatable, and views are of the size and kind that they should be") {
    const place_recognition::WorldOptions options{.clutter = 0.5};
    const std::vector<Images> seen = World(options, 1).see(40, 2);
    REQUIRE(seen.size() == 2);
    CHECK(World(options, 1).see(40, 2)[1].patches == seen[1].patches);
    double landmarks = 0, patches = 0;
    for (const Images& images : seen) {
        REQUIRE(images.offsets.size() == 41);
        CHECK(images.patches.rows() == options.features);
        CHECK(images.patches.cols() == images.offsets.back());
        CHECK(images.patches.minCoeff() >= 0);
        for (std::size_t b = 0; b < 40; ++b) CHECK(images.offsets[b + 1] - images.offsets[b] >= 20);
        for (const Index n : images.of_landmarks) CHECK((n >= 0 && n < images.patches.cols()));
        landmarks += static_cast<double>(images.of_landmarks.size());
        patches += static_cast<double>(images.patches.cols());
    }
    CHECK(landmarks / 80 == Catch::Approx(20 * 0.6 * 4.5).epsilon(0.1));
    CHECK(1 - landmarks / patches == Catch::Approx(0.5).margin(0.1));
    CHECK(World({.clutter = 0}, 1).see(5, 1)[0].of_landmarks.size() ==
          static_cast<std::size_t>(World({.clutter = 0}, 1).see(5, 1)[0].patches.cols()));
}

TEST_CASE("Recall counts the queries whose place is among the first") {
    // Query 0 finds its place first, query 1 second, query 2 is tied with another and counts as second.
    const Matrix database = Matrix::Identity(3, 3);
    const Matrix queries{{0.9, 0.7, 0.5}, {0.1, 0.6, 0}, {0, 0, 0.5}};
    const auto found = place_recognition::recalls(database, queries);
    CHECK(found[0] == Catch::Approx(1.0 / 3));
    CHECK(found[1] == Catch::Approx(1));
    CHECK(found[2] == Catch::Approx(1));
}

TEST_CASE("Pooled images are the formulas of the poolings") {
    const Images images = World({.features = 5, .clutter = 0.3}, 2).see(3, 1)[0];
    const auto of_slots = place_recognition::learn_centres(images, place_recognition::Prototypes::of_all, 4, 1);
    const Matrix& c = of_slots.centres;
    const double alpha0 = 0.3 * of_slots.mean_distance;
    const Matrix netvlad = place_recognition::pooled(Aggregator::netvlad, images.bags(), of_slots, 0.3);
    const Matrix salad = place_recognition::pooled(Aggregator::salad, images.bags(), of_slots, 0.3);
    const Matrix residuals = place_recognition::pooled(Aggregator::salad_residuals, images.bags(), of_slots, 0.3);
    for (Index b = 0; b < 3; ++b) {
        const Index first = images.offsets[static_cast<std::size_t>(b)];
        const Matrix x = images.patches.middleCols(first, images.offsets[static_cast<std::size_t>(b) + 1] - first);
        Matrix kernel(5, x.cols());  // exp(S / alpha0), the last row the dustbin's
        for (Index n = 0; n < x.cols(); ++n) {
            for (Index k = 0; k < 4; ++k) kernel(k, n) = std::exp(-(x.col(n) - c.col(k)).squaredNorm() / alpha0);
            kernel(4, n) = std::exp(-of_slots.mean_distance / alpha0);
        }
        Matrix shares = kernel.topRows(4);
        shares = (shares.array().rowwise() / shares.colwise().sum().array()).eval();
        Matrix plan = kernel;
        for (int step = 0; step < 3; ++step) {
            for (Index k = 0; k < 5; ++k) plan.row(k) *= (k < 4 ? 1.0 : double(x.cols() - 4)) / plan.row(k).sum();
            for (Index n = 0; n < x.cols(); ++n) plan.col(n) /= plan.col(n).sum();
        }
        const auto expect = [&](const Matrix& found, const Matrix& weights, const Matrix& centres) {
            Matrix slots = x * weights.transpose() - centres * weights.rowwise().sum().asDiagonal();
            slots.colwise().normalize();
            slots /= slots.norm();
            CHECK((found.col(b).reshaped(5, 4) - slots).cwiseAbs().maxCoeff() < 1e-10);
        };
        expect(netvlad, shares, c);
        expect(salad, plan.topRows(4), Matrix::Zero(5, 4));
        expect(residuals, plan.topRows(4), c);
    }
}

TEST_CASE("Slots recognise more than chance and than the mean where there is no clutter") {
    const auto rows = place_recognition::run({.clutter = {0}, .places = 40, .training = 30, .slots = 8});
    REQUIRE(rows.size() == place_recognition::all_methods.size());
    CHECK(rows[0].recalls[0][0] > 5 * 1 / 40.0);
    CHECK(rows[2].recalls[0][0] > rows[0].recalls[0][0]);
    CHECK(rows[4].recalls[0][0] > rows[0].recalls[0][0]);
    for (const auto& row : rows) {
        CHECK(row.recalls[0][0] <= row.recalls[0][1]);
        CHECK(row.recalls[0][1] <= row.recalls[0][2]);
    }
}

#ifdef PLACE_RECOGNITION_PROGRAM

int status_of(const std::filesystem::path& directory, const std::string& arguments) {
    const int status = std::system(
        ("cd '" + directory.string() + "' && '" PLACE_RECOGNITION_PROGRAM "' " + arguments + " >/dev/null 2>&1")
            .c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_CASE("place_recognition refuses bad options before it starts, and leaves nothing behind") {
    const tests::TemporaryDirectory directory;
    for (const char* bad : {"--slots 20", "--slots 0", "--clutter 1", "--clutter little", "--places 9", "--seeds 0",
                            "--output no/where.png", "--table place_recognition.png", "salad"}) {
        CAPTURE(bad);
        CHECK(status_of(directory.path(), bad) == 2);
    }
    CHECK(std::filesystem::is_empty(directory.path()));
    CHECK(status_of(directory.path(), "--help") == 0);
}

TEST_CASE("place_recognition writes its picture and its table") {
    const tests::TemporaryDirectory directory;
    CHECK(status_of(directory.path(), "--places 10 --training 10 --slots 4 --clutter 0.2,0.5 --table table.md") == 0);
    CHECK(std::filesystem::file_size(directory / "place_recognition.png") > 0);
    CHECK(std::filesystem::file_size(directory / "table.md") > 0);
}

#endif

}  // namespace place_recognition_test
