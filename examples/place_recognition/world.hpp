#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <otpool/otpool.hpp>

#include "../support/generator.hpp"

namespace place_recognition {

using otpool::Index;
using Matrix = otpool::Matrix<double>;
using Vector = otpool::Vector<double>;
using Bags = otpool::Bags<double>;

/// How the made-up images are.
struct WorldOptions {
    Index features = 32;      ///< D, of a patch
    Index kinds = 24;         ///< kinds of landmarks: all windows, say, look alike
    Index landmarks = 20;     ///< of a place
    double own_look = 0.5;    ///< how much a landmark differs from its kind, which differ by 1 per feature
    double noise = 0.7;       ///< how much a patch differs from its landmark
    double visible = 0.6;     ///< part of the landmarks that a view shows
    double clutter = 0.5;     ///< part of a view's patches that show no landmark, give or take 0.2
    Index clutter_kinds = 8;  ///< of sky, road, trees; a view has one to three of them
};

/// Images side by side: the patches of all, D x sum N, and where each image begins.
struct Images {
    Matrix patches;
    std::vector<std::int64_t> offsets = {0};
    std::vector<Index> of_landmarks = {};  ///< the patches that show a landmark

    Bags bags() const { return {patches, offsets}; }
};

/// Made-up patch features of places that are each seen several times. A place has landmarks, each of some kind and with a
/// look of its own. A view shows some of the landmarks, each with 1 to 8 patches, and clutter, which says nothing about the
/// place. No feature is negative, as behind a ReLU.
class World {
public:
    World(WorldOptions options, std::uint64_t seed)
        : options_(options),
          random_(seed),
          kinds_(random_.normal(options.features, options.kinds)),
          clutter_(random_.normal(options.features, options.clutter_kinds)) {}

    /// New places, each seen `views` times: element v holds view v of every place.
    std::vector<Images> see(Index places, Index views) {
        std::vector<std::vector<Vector>> patches(static_cast<std::size_t>(views));
        std::vector<Images> seen(static_cast<std::size_t>(views));
        for (Index p = 0; p < places; ++p) {
            Matrix looks = options_.own_look * random_.normal(options_.features, options_.landmarks);
            for (auto look : looks.colwise()) look += kinds_.col(random_.integer(0, options_.kinds - 1));
            for (std::size_t v = 0; v < seen.size(); ++v) add_view(looks, patches[v], seen[v]);
        }
        for (std::size_t v = 0; v < seen.size(); ++v) {
            seen[v].patches.resize(options_.features, static_cast<Index>(patches[v].size()));
            for (Index n = 0; n < seen[v].patches.cols(); ++n) {
                seen[v].patches.col(n) = patches[v][static_cast<std::size_t>(n)];
            }
        }
        return seen;
    }

private:
    static constexpr std::size_t least_patches = 20;  // of landmarks

    void add_view(const Matrix& looks, std::vector<Vector>& patches, Images& seen) {
        const std::size_t first = seen.of_landmarks.size();
        while (seen.of_landmarks.size() < first + least_patches) {  // seldom twice
            for (Index l = 0; l < looks.cols(); ++l) {
                if (random_.uniform() > options_.visible) continue;
                const Index count = random_.integer(1, 8);
                for (Index i = 0; i < count; ++i) {
                    seen.of_landmarks.push_back(static_cast<Index>(patches.size()));
                    patches.push_back(patch(looks.col(l)));
                }
            }
        }
        const auto of_landmarks = static_cast<double>(seen.of_landmarks.size() - first);
        const double part = std::clamp(options_.clutter + 0.4 * random_.uniform() - 0.2, 0.0, 0.95);
        const auto count = options_.clutter == 0 ? 0 : std::lround(of_landmarks * part / (1 - part));
        const Index kinds = random_.integer(1, 3);
        std::vector<Index> of_view;
        for (Index i = 0; i < kinds; ++i) of_view.push_back(random_.integer(0, options_.clutter_kinds - 1));
        for (long i = 0; i < count; ++i) {
            const Index kind = of_view[static_cast<std::size_t>(random_.integer(0, kinds - 1))];
            patches.push_back(patch(clutter_.col(kind)));
        }
        seen.offsets.push_back(static_cast<std::int64_t>(patches.size()));
    }

    Vector patch(const Vector& look) {
        return (look + options_.noise * random_.normal(options_.features, 1).col(0)).cwiseMax(0.0);
    }

    WorldOptions options_;
    support::Generator random_;
    Matrix kinds_, clutter_;
};

}  // namespace place_recognition
