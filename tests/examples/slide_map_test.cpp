#ifdef POOL_HAS_CAIRO

#include "support/slide_map.hpp"

#include <cairo.h>

#include <Eigen/Core>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

#include "support/catch.hpp"

using support::SlideMap;

namespace slide_map_test {

/// The colour of a pixel of a PNG.
std::uint32_t pixel(const std::string& png, int x, int y) {
    struct Source {
        const std::string& bytes;
        std::size_t at = 0;
    } source{png};
    const auto read = [](void* from, unsigned char* to, unsigned int count) {
        auto& rest = *static_cast<Source*>(from);
        if (rest.bytes.size() - rest.at < count) return CAIRO_STATUS_READ_ERROR;
        std::memcpy(to, rest.bytes.data() + rest.at, count);
        rest.at += count;
        return CAIRO_STATUS_SUCCESS;
    };
    cairo_surface_t* const image = cairo_image_surface_create_from_png_stream(read, &source);
    REQUIRE(cairo_surface_status(image) == CAIRO_STATUS_SUCCESS);
    REQUIRE(x < cairo_image_surface_get_width(image));
    REQUIRE(y < cairo_image_surface_get_height(image));
    std::uint32_t color = 0;
    std::memcpy(&color, cairo_image_surface_get_data(image) + y * cairo_image_surface_get_stride(image) + 4 * x, 4);
    cairo_surface_destroy(image);
    return color & 0xffffff;
}

/// Whether a colour is viridis's of this value, but for rounding.
bool is_color_of(double value, std::uint32_t found) {
    const support::Color color = support::viridis(value);
    const auto near = [](double part, std::uint32_t byte) { return std::abs(255 * part - byte) <= 1; };
    return near(color.red, found >> 16 & 255) && near(color.green, found >> 8 & 255) && near(color.blue, found & 255);
}

TEST_CASE("A slide's patches are where their coordinates are, in the colours of their weights") {
    const SlideMap map{.title = "slide",
                       .coordinates = Eigen::Matrix2Xd{{1000, 1100, 1000, 1300}, {500, 500, 600, 600}},
                       .weights = Eigen::VectorXd{{0, 0.5, 2, 1}}};
    std::ostringstream stream;
    write_png(stream, map);
    const std::string png = stream.str();
    // 24 pixels a patch, from (30, 70) on.
    const auto at = [&](int column, int row) { return pixel(png, 30 + 24 * column + 12, 70 + 24 * row + 12); };
    CHECK(is_color_of(0, at(0, 0)));
    CHECK(is_color_of(0.25, at(1, 0)));
    CHECK(is_color_of(1, at(0, 1)));
    CHECK(is_color_of(0.5, at(3, 1)));
    CHECK(at(1, 1) == 0xffffff);  // no patch
    CHECK(at(3, 0) == 0xffffff);
}

TEST_CASE("A heavy patch lies on top of a light one, in any order") {
    for (const bool first : {false, true}) {
        const SlideMap map{.title = "",
                           .coordinates = Eigen::Matrix2Xd{{0, 0, 0}, {0, 0, 10}},
                           .weights = Eigen::VectorXd{{first ? 1.0 : 0.0, first ? 0.0 : 1.0, 0.5}}};
        std::ostringstream stream;
        write_png(stream, map);
        CHECK(is_color_of(1, pixel(stream.str(), 40, 80)));
    }
}

TEST_CASE("The size of patches is the usual distance of neighbours, also on several grids") {
    using support::detail::patch_step;
    Eigen::Matrix2Xd grids(2, 50);
    for (Eigen::Index n = 0; n < 25; ++n) {
        const Eigen::Vector2d place(static_cast<double>(n % 5) * 256, static_cast<double>(n / 5) * 256);
        grids.col(n) = place;
        grids.col(49 - n) = place + Eigen::Vector2d(13, 7077);  // of another piece of tissue
    }
    CHECK(patch_step(grids) == 256);
    CHECK(patch_step(Eigen::Matrix2Xd{{0, 100, 200}, {5, 5, 5}}) == 100);  // a row
    CHECK(patch_step(Eigen::Matrix2Xd{{5, 5, 5}, {0, 100, 200}}) == 100);
    CHECK(patch_step(Eigen::Matrix2Xd{{5}, {7}}) == 1);
    CHECK(patch_step(Eigen::Matrix2Xd{{5, 5}, {7, 7}}) == 1);
}

TEST_CASE("A map can be drawn of any slide") {
    const auto is_drawn = [](const Eigen::Matrix2Xd& coordinates, const Eigen::VectorXd& weights) {
        std::ostringstream stream;
        support::write_png(stream, SlideMap{.title = "x", .coordinates = coordinates, .weights = weights});
        return stream.str().size() > 500;
    };
    CHECK(is_drawn(Eigen::Matrix2Xd{{5}, {7}}, Eigen::VectorXd{{1}}));
    CHECK(is_drawn(Eigen::Matrix2Xd{{5, 9}, {7, 7}}, Eigen::VectorXd{{0, 0}}));
    CHECK(is_drawn(Eigen::Matrix2Xd{{-1e9, 1e9, 1e9}, {0, 0, 1}}, Eigen::VectorXd{{1, 2, 1}}));
    CHECK(is_drawn(Eigen::Matrix2Xd::Random(2, 3000), Eigen::VectorXd::Random(3000).cwiseAbs()));
}

TEST_CASE("The fewest patches that hold half of the weight") {
    using support::detail::half_of_weight;
    CHECK(half_of_weight(Eigen::VectorXd{{1, 1, 1, 1}}) == 2);
    CHECK(half_of_weight(Eigen::VectorXd{{0.1, 3, 0.2}}) == 1);
    CHECK(half_of_weight(Eigen::VectorXd{{0, 0}}) == 0);
}

}  // namespace slide_map_test

#endif
