#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <iomanip>
#include <limits>
#include <ostream>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "canvas.hpp"
#include "color_map.hpp"
#include "output_files.hpp"

namespace support {

/// One matrix of the picture, such as a plan: rows run down (features), columns to the right (instances).
struct Panel {
    Eigen::MatrixXd values;  ///< empty: a grey box that holds the note
    std::string note;        ///< otherwise a line below the panel
};

/// Which panels share the two ends of the colour scale: 0 (or the least value, if negative) and the largest
/// value, or twice the value where all are equal.
enum class ColorScale { per_row, per_panel };

struct HeatmapGrid {
    std::string title;
    std::vector<std::string> column_titles;
    std::vector<std::string> row_titles;
    std::vector<std::vector<Panel>> rows;
    std::string x_label = "instances";
    std::string y_label = "features";
    ColorScale scale = ColorScale::per_row;
    int width = 1400;  ///< pixels; the height follows
};

namespace detail {

/// Lays out a HeatmapGrid and draws it, from the top down.
class HeatmapPainter {
public:
    explicit HeatmapPainter(const HeatmapGrid& grid) : grid_(grid) {
        std::size_t columns = grid.column_titles.size();
        for (const auto& row : grid.rows) columns = std::max(columns, row.size());
        const double room = grid.width - 2 * margin - row_title - y_label - color_bar;
        slot_ = std::max(20.0, std::floor(room / static_cast<double>(std::max<std::size_t>(columns, 1))));
        double top = margin + (grid.title.empty() ? 0 : title) + (grid.column_titles.empty() ? 0 : column_title);
        for (const auto& row : grid.rows) {
            rows_.push_back(lay_out(row, top));
            top = rows_.back().bottom + gap;
        }
        height_ = static_cast<int>(top - gap + x_label + margin);
    }

    Canvas paint() const {
        Canvas canvas(grid_.width, height_);
        canvas.text(margin, margin + 8, grid_.title, {.size = 22, .ink = dark, .bold = true});
        const double titles = rows_.empty() ? margin : rows_.front().top - column_title / 2;
        for (std::size_t c = 0; c < grid_.column_titles.size(); ++c) {
            const double width = rows_.empty() ? slot_ - gap : rows_.front().width;
            canvas.text(left(c) + width / 2, titles, grid_.column_titles[c],
                        {.size = 16, .ink = dark, .align = Align::center, .fit = slot_ - gap});
        }
        for (std::size_t r = 0; r < rows_.size(); ++r) paint_row(canvas, r);
        return canvas;
    }

private:
    using Align = Canvas::Align;

    struct Range {
        double low = 0, high = 0;
    };

    struct Row {
        double top, width, height, bottom;  ///< of the panels, in pixels; bottom includes the notes
        Range range;
    };

    static constexpr double margin = 40, title = 44, column_title = 34, row_title = 140, y_label = 26, x_label = 26,
                            color_bar = 78, gap = 22, note = 20;
    static constexpr Color dark = color(0x222222), grey = color(0x666666), line = color(0x999999);

    double left(std::size_t column) const { return margin + row_title + y_label + static_cast<double>(column) * slot_; }

    Row lay_out(const std::vector<Panel>& panels, double top) const {
        Row row{top, slot_ - gap, std::floor((slot_ - gap) / 2), 0, {}};
        const auto filled = [](const Panel& panel) { return panel.values.size() > 0; };
        if (const auto first = std::find_if(panels.begin(), panels.end(), filled); first != panels.end()) {
            row.width = whole_cells(slot_ - gap, static_cast<double>(first->values.cols()));
            const double aspect = static_cast<double>(first->values.rows()) / static_cast<double>(first->values.cols());
            row.height = whole_cells(std::floor(row.width * std::clamp(aspect, 0.4, 0.8)),
                                     static_cast<double>(first->values.rows()));
        }
        const bool notes = std::any_of(panels.begin(), panels.end(),
                                       [&](const Panel& panel) { return filled(panel) && !panel.note.empty(); });
        row.bottom = row.top + row.height + (notes ? note : 0);
        row.range = range_of(panels);
        return row;
    }

    // At most `room`, and the same number of pixels for every cell unless that leaves a fifth of it empty.
    static double whole_cells(double room, double cells) {
        const double whole = std::floor(room / cells) * cells;
        return whole > 0.8 * room ? whole : room;
    }

    static Range range_of(std::span<const Panel> panels) {
        Range range;
        double least = std::numeric_limits<double>::infinity();
        for (const Panel& panel : panels) {
            for (const double value : panel.values.reshaped()) {
                if (!std::isfinite(value)) continue;
                range = {std::min(range.low, value), std::max(range.high, value)};
                least = std::min(least, value);
            }
        }
        // Equal values have no contrast to show: take the middle of the scale, not its bright end.
        if (range.high - least < 1e-6 * range.high) range.high *= 2;
        return range;
    }

    void paint_row(Canvas& canvas, std::size_t r) const {
        const Row& row = rows_[r];
        const double middle = row.top + row.height / 2;
        if (r < grid_.row_titles.size()) {
            canvas.text(margin, middle, grid_.row_titles[r], {.size = 16, .ink = dark, .fit = row_title - 10});
        }
        canvas.text(left(0) - y_label / 2, middle, grid_.y_label,
                    {.size = 12, .ink = grey, .align = Align::center, .fit = row.height}, true);
        const bool last = r + 1 == rows_.size();
        for (std::size_t c = 0; c < grid_.rows[r].size(); ++c) {
            paint_panel(canvas, row, left(c), grid_.rows[r][c]);
            if (last) {
                canvas.text(left(c) + row.width / 2, row.bottom + x_label / 2, grid_.x_label,
                            {.size = 12, .ink = grey, .align = Align::center, .fit = row.width});
            }
        }
        paint_color_bar(canvas, row);
    }

    void paint_panel(Canvas& canvas, const Row& row, double x, const Panel& panel) const {
        const bool empty = panel.values.size() == 0;
        if (empty) {
            canvas.rectangle(x, row.top, row.width, row.height, color(0xeeeeee));
        } else {
            const Range range = grid_.scale == ColorScale::per_row ? row.range : range_of({&panel, 1});
            canvas.matrix(x, row.top, row.width, row.height, panel.values, range.low, range.high);
        }
        canvas.frame(x, row.top, row.width, row.height, empty ? color(0xdddddd) : line);
        canvas.text(x + row.width / 2, row.top + (empty ? row.height / 2 : row.height + note / 2 + 1), panel.note,
                    {.size = 12, .ink = grey, .align = Align::center, .fit = row.width - 8});
    }

    void paint_color_bar(Canvas& canvas, const Row& row) const {
        constexpr int steps = 256;
        constexpr double width = 12;
        const double x = grid_.width - margin - color_bar + 14;
        const Eigen::VectorXd ramp = Eigen::VectorXd::LinSpaced(steps, 1, 0);
        canvas.matrix(x, row.top, width, row.height, ramp, 0, 1);
        canvas.frame(x, row.top, width, row.height, line);
        const bool shared = grid_.scale == ColorScale::per_row;
        const Canvas::TextStyle style{.size = 12, .ink = grey, .fit = color_bar - width - 20};
        canvas.text(x + width + 6, row.top + 5, shared ? number(row.range.high) : "max", style);
        canvas.text(x + width + 6, row.top + row.height - 5, shared ? number(row.range.low) : "0", style);
    }

    static std::string number(double value) { return (std::ostringstream() << std::setprecision(2) << value).str(); }

    const HeatmapGrid& grid_;
    double slot_ = 0;  // a panel and the gap to the next
    std::vector<Row> rows_;
    int height_ = 0;
};

}  // namespace detail

/// Draws the grid as a PNG image. Throws std::runtime_error if memory is short.
inline void write_png(std::ostream& stream, const HeatmapGrid& grid) {
    detail::HeatmapPainter(grid).paint().write_png(stream);
}

/// Writes the file whole or not at all. Throws FileError too.
inline void write_png(const std::filesystem::path& path, const HeatmapGrid& grid) {
    OutputFiles outputs;
    write_png(outputs.add(path).stream(), grid);
    outputs.commit();
}

}  // namespace support
