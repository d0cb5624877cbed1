#pragma once

#include <algorithm>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include <otpool/core/matrix.hpp>

#include "arrays.hpp"
#include "inputs.hpp"
#include "offsets.hpp"
#include "settings.hpp"

#ifdef POOL_HAS_CAIRO
#include "../support/slide_map.hpp"
#endif

// --heatmap: the weights of one slide's patches, drawn where the patches are.

namespace pool {

/// The dataset `coords` of an input that is an HDF5 file, unset if there is none.
inline std::optional<ArrayPlace> coordinates_beside(const Settings& settings) {
    ArrayPlace place(settings.input);
    if (place.format() != ArrayPlace::Format::hdf5) return {};
    const std::vector<std::string> arrays = arrays_of(place);
    if (std::count(arrays.begin(), arrays.end(), "coords") == 0) return {};
    place.name = "coords";
    return place;
}

/// Where the patches are: 2 x N. Throws FileError and UsageError.
inline Matrix<double> read_coordinates(const Settings& settings, const Offsets& offsets) {
    if (offsets.size() != 2 || offsets[1] == 0) {
        throw UsageError("--heatmap",
                         offsets.size() == 2 ? "an empty bag" : detail::printed(offsets.size() - 1) + " bags",
                         "one bag with instances, the patches of a slide");
    }
    const std::optional<ArrayPlace> place =
        settings.coords ? ArrayPlace(*settings.coords) : coordinates_beside(settings);
    if (!place) {
        throw UsageError("--coords", "none, and no dataset coords in " + settings.input.string(),
                         "a file of the places of the patches with --heatmap");
    }
    const Array file = open_array(*place, "coords");
    const auto [instances, axes] = file.matrix_shape();
    if (instances != offsets.back() || axes != 2) {
        throw FileError(file.path(), "shape", support::to_string(file.shape()),
                        "(" + detail::printed(offsets.back()) + ", 2), x and y of every instance");
    }
    Matrix<double> coordinates = file.matrix<double>();
    if (const auto at = detail::first_not_finite(coordinates)) {
        const auto [axis, n] = *at;
        throw FileError(file.path(), "row " + detail::printed(n), detail::printed(coordinates(axis, n)),
                        "finite numbers");
    }
    return coordinates;
}

/// Draws a PNG.
inline void draw_slide([[maybe_unused]] std::ostream& stream, [[maybe_unused]] const Settings& settings,
                       [[maybe_unused]] const Matrix<double>& coordinates,
                       [[maybe_unused]] const Vector<double>& weights) {
#ifdef POOL_HAS_CAIRO
    support::write_png(stream, support::SlideMap{.title = "instance weights of " + settings.input.filename().string(),
                                                 .coordinates = coordinates,
                                                 .weights = weights});
#endif
}

}  // namespace pool
