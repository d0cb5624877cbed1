#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "../support/canvas.hpp"
#include "poolings.hpp"

namespace slots {

/// The plans of one bag: a panel for each pooling with the plan, K x N, and, for a bag in the plane, a panel with the
/// instances in the colours of the slots that draw on them.
class Picture {
public:
    Picture(const std::vector<NamedPooling>& poolings, const Matrix& instances)
        : poolings_(poolings), instances_(instances), in_plane_(instances.rows() == 2) {}

    support::Canvas paint() const {
        const double map_height = plan_height();
        const double plans = in_plane_ ? top + side + 40 : top;
        support::Canvas canvas(static_cast<int>(2 * margin + 4 * (side + gap) - gap),
                               static_cast<int>(plans + map_height + 50));
        canvas.text(margin, 28, "Which slot draws on which instance of a bag", {.size = 20, .bold = true});
        double left = margin;
        for (const auto& [name, pooling] : poolings_) {
            const Matrix plan = pooling.plan({.instances = instances_});
            canvas.text(left + side / 2, top - 18, name, {.align = support::Canvas::Align::center, .fit = side});
            if (in_plane_) paint_points(canvas, left, pooling.reward.prototypes, plan);
            paint_plan(canvas, left, plans, map_height, plan);
            left += side + gap;
        }
        const std::string above =
            "Above: instances in the colour of their slots, pale where slots draw on less of them, "
            "and prototypes (rings). Below: ";
        canvas.text(margin, plans + map_height + 26,
                    (in_plane_ ? above : "") + "plans, a row for each slot, a column for each instance.",
                    {.size = 12, .ink = support::color(0x777777), .fit = 4 * side});
        return canvas;
    }

private:
    static constexpr double margin = 40, top = 80, side = 230, gap = 24;

    double plan_height() const {
        return std::clamp(14.0 * static_cast<double>(poolings_.front().pooling.reward.prototypes.cols()), 40.0, 400.0);
    }

    static support::Color ink(Index slot) {
        constexpr std::array inks = {support::color(0x0072b2), support::color(0xd55e00), support::color(0x009e73),
                                     support::color(0xcc79a7), support::color(0xe69f00), support::color(0x56b4e9),
                                     support::color(0x7a5c99), support::color(0x444444)};
        return inks[static_cast<std::size_t>(slot) % inks.size()];
    }

    /// The slots' colours, mixed by their shares of the instance; a missing share is pale grey.
    static support::Color mixed(const Vector& shares) {
        const double rest = std::max(0.0, 1 - shares.sum());
        support::Color mix{0.9 * rest, 0.9 * rest, 0.9 * rest};
        const double scale = std::max(1.0, shares.sum());
        for (Index k = 0; k < shares.size(); ++k) {
            const support::Color of_slot = ink(k);
            mix.red += shares[k] / scale * of_slot.red;
            mix.green += shares[k] / scale * of_slot.green;
            mix.blue += shares[k] / scale * of_slot.blue;
        }
        return mix;
    }

    void paint_points(support::Canvas& canvas, double left, const Matrix& prototypes, const Matrix& plan) const {
        const Vector low = instances_.rowwise().minCoeff();
        const double extent = std::max((instances_.rowwise().maxCoeff() - low).maxCoeff(), 1e-300);
        const auto x_of = [&](const Vector& point) { return left + 8 + (side - 16) * (point[0] - low[0]) / extent; };
        const auto y_of = [&](const Vector& point) {
            return top + side - 8 - (side - 16) * (point[1] - low[1]) / extent;
        };
        canvas.frame(left, top, side, side, support::color(0xbbbbbb));
        for (Index n = 0; n < plan.cols(); ++n) {
            const Vector shares = plan.col(n) * static_cast<double>(plan.cols());
            canvas.disc(x_of(instances_.col(n)), y_of(instances_.col(n)), 5, mixed(shares));
        }
        for (Index k = 0; k < prototypes.cols(); ++k) {
            const double x = x_of(prototypes.col(k)), y = y_of(prototypes.col(k));
            canvas.disc(x, y, 9, support::color(0x000000));
            canvas.disc(x, y, 7, support::color(0xffffff));
            canvas.disc(x, y, 5, ink(k));
        }
    }

    static void paint_plan(support::Canvas& canvas, double left, double plans, double height, const Matrix& plan) {
        canvas.matrix(left, plans, side, height, plan, 0, plan.maxCoeff());
        canvas.frame(left, plans, side, height, support::color(0x999999));
        for (Index k = 0; k < plan.rows(); ++k) {
            const double row = height / static_cast<double>(plan.rows());
            canvas.rectangle(left - 9, plans + row * static_cast<double>(k) + 1, 6, row - 2, ink(k));
        }
    }

    const std::vector<NamedPooling>& poolings_;
    const Matrix& instances_;
    bool in_plane_;
};

}  // namespace slots
