#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <otpool/otpool.hpp>

#include "../support/k_means.hpp"
#include "world.hpp"

namespace place_recognition {

enum class Aggregator { mean, gem, netvlad, salad, salad_residuals };

/// Of which patches of the training images the prototypes of the slots are the k-means.
enum class Prototypes { none, of_all, of_landmarks };

/// How an image's patches become one vector.
struct Method {
    Aggregator aggregator;
    Prototypes prototypes = Prototypes::none;
};

inline constexpr std::array all_methods = {Method{Aggregator::mean},
                                           Method{Aggregator::gem},
                                           Method{Aggregator::netvlad, Prototypes::of_all},
                                           Method{Aggregator::salad, Prototypes::of_all},
                                           Method{Aggregator::salad_residuals, Prototypes::of_all},
                                           Method{Aggregator::netvlad, Prototypes::of_landmarks},
                                           Method{Aggregator::salad, Prototypes::of_landmarks},
                                           Method{Aggregator::salad_residuals, Prototypes::of_landmarks}};

inline std::string name(Aggregator aggregator) {
    switch (aggregator) {
        case Aggregator::mean: return "mean";
        case Aggregator::gem: return "GeM";
        case Aggregator::netvlad: return "NetVLAD";
        case Aggregator::salad: return "SALAD";
        case Aggregator::salad_residuals: break;
    }
    return "SALAD, residuals";
}

inline std::string name(Prototypes prototypes) {
    switch (prototypes) {
        case Prototypes::none: return "-";
        case Prototypes::of_all: return "all patches";
        case Prototypes::of_landmarks: break;
    }
    return "landmarks";
}

/// The values of an aggregator's one parameter that are tried on the training places: GeM's power, and the slots' alpha0
/// over the mean squared distance of a patch to its nearest prototype.
inline std::vector<double> candidates(Aggregator aggregator) {
    switch (aggregator) {
        case Aggregator::mean: return {1};
        case Aggregator::gem: return {1, 2, 3, 5, 8};
        default: return {0.02, 0.05, 0.1, 0.2, 0.5};
    }
}

/// The slots' centres, D x K, and the mean squared distance of a patch to the nearest.
struct Centres {
    Matrix centres;
    double mean_distance = 0;
};

inline Centres learn_centres(const Images& training, Prototypes prototypes, Index slots, std::uint64_t seed) {
    const Matrix patches = prototypes == Prototypes::of_landmarks
                               ? Matrix(training.patches(Eigen::all, training.of_landmarks))
                               : training.patches;
    support::KMeans found = support::k_means(patches, slots, {.steps = 30, .seed = seed});
    return {std::move(found.centres), found.objective / static_cast<double>(patches.cols())};
}

/// SALAD's plan with NetVLAD's readout.
inline auto salad_of_residuals(const Matrix& centres) {
    // The dustbin's reward has no effect: the half step of the slots comes first and takes it away again.
    const auto salad = otpool::salad_pooling<double>(0.0, otpool::SquaredDistance<double>{centres});
    return otpool::SlotPooling<double, otpool::SquaredDistance<double>, otpool::Sinkhorn,
                               otpool::ResidualSlots<otpool::JointSlots>, otpool::Dustbin>{
        .reward = salad.reward,
        .parameters = salad.parameters,
        .solver = salad.solver,
        .readout = {.centres = centres, .readout = salad.readout},
        .dummy = salad.dummy};
}

/// The pooled vectors of images, one a column, of length 1; those of slots are normalised slot by slot before. `parameter` is
/// one of the candidates.
inline Matrix pooled(Aggregator aggregator, const Bags& images, const Centres& of_slots, double parameter) {
    const auto normalised = [](Matrix vectors) {
        for (auto vector : vectors.colwise()) vector /= std::max(vector.norm(), 1e-12);
        return vectors;
    };
    const auto pooled_to_slots = [&](auto pooling) {
        pooling.parameters.alpha0 = parameter * of_slots.mean_distance;
        const Matrix vectors = pooling(images);
        return normalised(normalised(vectors.reshaped(images.features(), vectors.size() / images.features()))
                              .reshaped(vectors.rows(), vectors.cols()));
    };
    const otpool::SquaredDistance<double> reward{of_slots.centres};
    switch (aggregator) {
        case Aggregator::mean: return normalised(otpool::mean_pooling<double>()(images));
        case Aggregator::gem: return normalised(otpool::generalized_mean_pooling<double>(parameter)(images));
        case Aggregator::netvlad: return pooled_to_slots(otpool::netvlad_pooling<double>(reward, of_slots.centres));
        case Aggregator::salad: return pooled_to_slots(otpool::salad_pooling<double>(0.0, reward));
        case Aggregator::salad_residuals: break;
    }
    return pooled_to_slots(salad_of_residuals(of_slots.centres));
}

}  // namespace place_recognition
