#include <algorithm>
#include <cmath>

#include "adapter/vectors.hpp"
#include "otpool/slots/named_slot_poolings.hpp"
#include "otpool/slots/plasma_alignment.hpp"
#include "otpool/slots/salad.hpp"
#include "support/catch.hpp"

// The named poolings to slots against results of the released programs, in double to 1e-10 and in float to 1e-5, relative
// to the largest number.

namespace slot_vectors_test {

using namespace otpool;
using namespace tests;

template <class Scalar>
constexpr double near = std::same_as<Scalar, double> ? 1e-10 : 1e-5;

/// The largest difference, relative to the largest expected number.
template <class Found>
double difference(const Found& found, const Matrix<double>& expected) {
    REQUIRE(found.rows() == expected.rows());
    REQUIRE(found.cols() == expected.cols());
    return (found.template cast<double>() - expected).cwiseAbs().maxCoeff() / expected.cwiseAbs().maxCoeff();
}

/// A matrix of the file with a column per row of the list.
template <class Scalar>
Matrix<Scalar> columns(const Json& json) {
    return rows(json).transpose().cast<Scalar>();
}

TEMPLATE_TEST_CASE("otke_pooling is OTKE", "", double, float) {
    for (const Json& entry : cases_of("otke.json")) {
        const Json& inputs = entry.at("inputs");
        const Json& of = entry.at("parameters");
        const Matrix<TestType> x = columns<TestType>(inputs.at("x"));
        Bag<TestType> bag{x};
        if (!inputs.at("mask").is_null()) {
            bag.prior.resize(x.cols());
            for (Index n = 0; n < x.cols(); ++n)
                bag.prior[n] = inputs.at("mask")[static_cast<std::size_t>(n)].get<bool>() ? 1 : 0;
            bag.prior /= bag.prior.sum();
        }
        const Json& heads = inputs.at("w");
        const Matrix<double> expected = rows(entry.at("outputs").at("pooled"));
        for (std::size_t h = 0; h < heads.size(); ++h) {
            const auto pooling = otke_pooling<TestType>(columns<TestType>(heads[h]), of.at("alpha0").get<TestType>(),
                                                        of.at("iterations").get<int>());
            const Matrix<double> of_head = expected.middleCols(static_cast<Index>(h) * x.rows(), x.rows());
            CHECK(difference(pooling(bag).transpose(), of_head) < near<TestType>);
        }
    }
}

TEMPLATE_TEST_CASE("salad_pooling is SALAD's aggregation", "", double, float) {
    for (const Json& entry : cases_of("salad.json")) {
        const Json& inputs = entry.at("inputs");
        const Matrix<TestType> scores = rows(inputs.at("scores")).cast<TestType>();
        const Matrix<TestType> features = rows(inputs.at("features")).cast<TestType>();
        const Bag<TestType> bag{.instances = features, .reward = scores};
        const int steps = entry.at("parameters").at("iterations").get<int>();
        const auto pooling = salad_pooling<TestType>(inputs.at("dustbin").get<TestType>(), GivenReward{}, steps);
        const Matrix<double> plan = rows(entry.at("outputs").at("plan_times_N")).topRows(scores.rows());
        CHECK(difference(static_cast<TestType>(scores.cols()) * pooling.plan(bag), plan) < near<TestType>);
        Matrix<double> pooled = pooling(bag).template cast<double>();
        pooled.colwise().normalize();
        pooled /= pooled.norm();
        const Vector<double> descriptor = vector(entry.at("outputs").at("descriptor"));
        const Matrix<double> expected = descriptor.reshaped(scores.rows(), features.rows()).transpose();
        CHECK(difference(pooled, expected) < near<TestType>);
    }
}

TEMPLATE_TEST_CASE("Salad makes SALAD's descriptors of the scores and features that its networks make", "", double,
                   float) {
    for (const Json& entry : cases_of("salad.json")) {
        const Json& inputs = entry.at("inputs");
        if (entry.at("parameters").at("iterations").get<int>() != 3) continue;
        const Matrix<TestType> scores = rows(inputs.at("scores")).cast<TestType>();
        const Matrix<TestType> features = rows(inputs.at("features")).cast<TestType>();
        // Patches hold both, and each network cuts out its part.
        Matrix<TestType> patches(scores.rows() + features.rows(), scores.cols());
        patches << scores, features;
        const Matrix<TestType> all = Matrix<TestType>::Identity(patches.rows(), patches.rows());
        const Network<TestType> score{{{all.topRows(scores.rows())}}};
        const Network<TestType> feature{{{all.bottomRows(features.rows())}}};
        const Salad<TestType> salad{salad_pooling(inputs.at("dustbin").get<TestType>(), score, 3, feature)};
        const Vector<double> descriptor = vector(entry.at("outputs").at("descriptor"));
        CHECK(difference(salad(MatrixView<TestType>(patches)), descriptor) < near<TestType>);
    }
}

TEMPLATE_TEST_CASE("sinkhorn_assignment is SwAV's", "", double, float) {
    for (const Json& entry : cases_of("swav.json")) {
        const Json& of = entry.at("parameters");
        const Matrix<TestType> scores = rows(entry.at("inputs").at("scores")).cast<TestType>();
        const Matrix<TestType> found =
            sinkhorn_assignment<TestType>(scores, of.at("alpha0").get<TestType>(), of.at("iterations").get<int>());
        CHECK(difference(found, rows(entry.at("outputs").at("plan_times_N"))) < near<TestType>);
    }
}

TEMPLATE_TEST_CASE("lot_embedding is that of WEGL", "", double, float) {
    for (const Json& entry : cases_of("wegl.json")) {
        const Matrix<TestType> x = columns<TestType>(entry.at("inputs").at("x"));
        const auto pooling = lot_embedding<TestType>(columns<TestType>(entry.at("inputs").at("template")));
        CHECK(difference(pooling(MatrixView<TestType>(x)).transpose(), rows(entry.at("outputs").at("embedding"))) <
              near<TestType>);
    }
}

TEST_CASE("motcat_pooling is MOTCat's, as far as it is solved") {
    for (const Json& entry : cases_of("motcat.json")) {
        const Matrix<double> x = columns<double>(entry.at("inputs").at("patches"));
        const Json& of = entry.at("parameters");
        auto pooling =
            motcat_pooling<double>(columns<double>(entry.at("inputs").at("tokens")), Sinkhorn{{.tolerance = 1e-12}});
        pooling.parameters.alpha0 = of.at("alpha0").get<double>();
        pooling.parameters.features.alpha = of.at("alpha_slots").get<double>();
        pooling.parameters.instances.alpha = of.at("alpha_instances").get<double>();
        // They stop when scalings change by 1e-6.
        CHECK(difference(pooling(MatrixView<double>(x)), rows(entry.at("outputs").at("pooled"))) < 2e-6);
    }
}

TEST_CASE("otsurv_pooling is OTSurv's") {
    for (const Json& entry : cases_of("otsurv.json")) {
        const Json& of = entry.at("parameters");
        const Matrix<double> x = columns<double>(entry.at("inputs").at("x"));
        const Matrix<double> prototypes = columns<double>(entry.at("inputs").at("prototypes"));
        const double rho = of.at("rho").get<double>();
        const Matrix<double> expected = rows(entry.at("outputs").at("pooled"));
        const double off = of.at("difference_to_optimum").get<double>();
        const auto solved = otsurv_pooling<double>(prototypes, rho, Sinkhorn{{.tolerance = 1e-12}});
        const Matrix<double> plan = rows(entry.at("outputs").at("plan_over_rho"));
        // At small rho their 1000 steps are not enough: the file says how far they are from the optimum.
        CHECK((solved.plan({.instances = x}) / rho - plan).cwiseAbs().maxCoeff() < 1.001 * off + 1e-11);
        if (off < 1e-10) CHECK(difference(solved(MatrixView<double>(x)), expected) < 1e-10);
    }
}

TEMPLATE_TEST_CASE("plasma_alignment is PLASMA's, without what it adds to its sums", "", double, float) {
    for (const Json& entry : cases_of("plasma.json")) {
        const Json& of = entry.at("parameters");
        const Matrix<TestType> query = columns<TestType>(entry.at("inputs").at("query"));
        const Matrix<TestType> candidate = columns<TestType>(entry.at("inputs").at("candidate"));
        const PlasmaOptions<TestType> options{.alpha0 = of.at("alpha0").get<TestType>(),
                                              .iterations = of.at("iterations").get<int>(),
                                              .threshold = of.at("threshold").get<double>(),
                                              .diagonal = of.at("diagonal").get<Index>()};
        const Matrix<double> plan = rows(entry.at("outputs").at("plan_times_N"));
        const double score = entry.at("outputs").at("score").get<double>();
        CHECK(difference(Hinge<TestType>{query}(candidate), rows(entry.at("inputs").at("reward"))) < near<TestType>);
        // Of their plan, the score is theirs whatever they add.
        CHECK(std::abs(
                  plasma_score<TestType>(query, candidate, plan.cast<TestType>(), options.threshold, options.diagonal) -
                  score) < near<TestType>);
        const auto found = plasma_alignment<TestType>(query, candidate, options);
        if (of.at("eps").get<double>() == 0) {
            CHECK(difference(found.plan, plan) < near<TestType>);
            CHECK(std::abs(found.score - score) < near<TestType>);
        } else {
            CHECK(difference(found.plan, plan) < (options.alpha0 == 1 ? 2e-6 : 0.6));
        }
    }
}

TEMPLATE_TEST_CASE("sliced_embedding is PSWE's, of as many instances as points", "", double, float) {
    for (const Json& entry : cases_of("pswe.json")) {
        const Matrix<TestType> slices = rows(entry.at("inputs").at("slices")).cast<TestType>();
        const Matrix<TestType> reference = rows(entry.at("inputs").at("reference")).cast<TestType>();
        const Matrix<TestType> directions = Matrix<TestType>::Identity(slices.rows(), slices.rows());
        const auto embedding = [&] { return sliced_embedding<TestType>(slices, directions, reference); };
        if (slices.cols() == reference.cols()) {
            CHECK(difference(embedding(), rows(entry.at("outputs").at("embedding"))) < near<TestType>);
        } else {
            CHECK_THROWS_AS(embedding(), InvalidArgument);
        }
    }
}

}  // namespace slot_vectors_test
