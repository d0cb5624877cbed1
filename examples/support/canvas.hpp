#pragma once

#include <cairo.h>

#include <Eigen/Core>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <ostream>
#include <stdexcept>
#include <string>

#include "color_map.hpp"

namespace support {

/// A cairo context over an RGB image, and the few things that are drawn with it. Coordinates are pixels.
class Canvas {
public:
    enum class Align { left, center, right };

    struct TextStyle {
        double size = 14;
        Color ink = color(0x333333);
        bool bold = false;
        Align align = Align::left;
        double fit = std::numeric_limits<double>::infinity();  ///< text that is wider than this is set in smaller type
    };

    Canvas(int width, int height)
        : surface_(cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height)),
          context_(cairo_create(surface_.get())) {
        rectangle(0, 0, width, height, color(0xffffff));
    }

    void rectangle(double x, double y, double width, double height, Color fill) {
        set(fill);
        cairo_rectangle(context_.get(), x, y, width, height);
        cairo_fill(context_.get());
    }

    /// A line of one pixel around, not on, the given rectangle.
    void frame(double x, double y, double width, double height, Color ink) {
        set(ink);
        cairo_set_line_width(context_.get(), 1);
        cairo_rectangle(context_.get(), x - 0.5, y - 0.5, width + 1, height + 1);
        cairo_stroke(context_.get());
    }

    void line(double x0, double y0, double x1, double y1, Color ink, double width = 2) {
        set(ink);
        cairo_set_line_width(context_.get(), width);
        cairo_move_to(context_.get(), x0, y0);
        cairo_line_to(context_.get(), x1, y1);
        cairo_stroke(context_.get());
    }

    void disc(double x, double y, double radius, Color fill) {
        set(fill);
        cairo_arc(context_.get(), x, y, radius, 0, 4 * std::acos(0.0));
        cairo_fill(context_.get());
    }

    /// Text centred vertically on y; with `upward` it is turned by a quarter and centred horizontally on x.
    void text(double x, double y, const std::string& line, const TextStyle& style, bool upward = false) {
        cairo_t* const context = context_.get();
        cairo_save(context);
        cairo_select_font_face(context, "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                               style.bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
        cairo_set_font_size(context, style.size);
        cairo_text_extents_t extents;
        cairo_text_extents(context, line.c_str(), &extents);
        if (extents.x_advance > style.fit) {
            cairo_set_font_size(context, style.size * style.fit / extents.x_advance);
            cairo_text_extents(context, line.c_str(), &extents);
        }
        cairo_font_extents_t font;
        cairo_font_extents(context, &font);
        const double shift = style.align == Align::left ? 0 : style.align == Align::center ? 0.5 : 1;
        cairo_translate(context, x, y);
        if (upward) cairo_rotate(context, -std::acos(0.0));
        // The font's height, not the line's own, so that neighbours with and without descenders stay level.
        cairo_move_to(context, -shift * extents.x_advance, (font.ascent - font.descent) / 2);
        set(style.ink);
        cairo_show_text(context, line.c_str());
        cairo_restore(context);
    }

    /// Paints `values` into the rectangle, from the colour of `low` to that of `high`.
    void matrix(double x, double y, double width, double height, const Eigen::MatrixXd& values, double low,
                double high) {
        const auto columns = static_cast<int>(values.cols());
        const auto rows = static_cast<int>(values.rows());
        const SurfacePointer image(cairo_image_surface_create(CAIRO_FORMAT_RGB24, columns, rows));
        check(cairo_surface_status(image.get()));  // Cairo's images have at most 32767 pixels a side
        unsigned char* const pixels = cairo_image_surface_get_data(image.get());
        const std::ptrdiff_t stride = cairo_image_surface_get_stride(image.get());
        for (int d = 0; d < rows; ++d) {
            auto* const line = reinterpret_cast<std::uint32_t*>(pixels + d * stride);
            for (int n = 0; n < columns; ++n) {
                line[n] = pixel(values(d, n), low, high);
            }
        }
        cairo_surface_mark_dirty(image.get());

        cairo_t* const context = context_.get();
        cairo_save(context);
        cairo_translate(context, x, y);
        cairo_scale(context, width / columns, height / rows);
        cairo_set_source_surface(context, image.get(), 0, 0);
        // Cells stay crisp if each has a pixel; cells that share a pixel are averaged.
        cairo_pattern_set_filter(cairo_get_source(context),
                                 width >= columns && height >= rows ? CAIRO_FILTER_NEAREST : CAIRO_FILTER_GOOD);
        cairo_pattern_set_extend(cairo_get_source(context), CAIRO_EXTEND_PAD);
        cairo_rectangle(context, 0, 0, columns, rows);
        cairo_fill(context);
        cairo_restore(context);
    }

    void write_png(std::ostream& stream) {
        const auto append = [](void* to, const unsigned char* bytes, unsigned int count) {
            static_cast<std::ostream*>(to)->write(reinterpret_cast<const char*>(bytes), count);
            return CAIRO_STATUS_SUCCESS;
        };
        check(cairo_status(context_.get()));  // cairo keeps the first error of all the drawing
        check(cairo_surface_write_to_png_stream(surface_.get(), append, &stream));
    }

private:
    struct Destroy {
        void operator()(cairo_t* context) const { cairo_destroy(context); }
        void operator()(cairo_surface_t* surface) const { cairo_surface_destroy(surface); }
    };
    using SurfacePointer = std::unique_ptr<cairo_surface_t, Destroy>;

    static void check(cairo_status_t status) {
        if (status == CAIRO_STATUS_SUCCESS) return;
        throw std::runtime_error(std::string("heat map: ") + cairo_status_to_string(status));
    }

    void set(Color ink) { cairo_set_source_rgb(context_.get(), ink.red, ink.green, ink.blue); }

    static std::uint32_t pixel(double value, double low, double high) {
        if (!std::isfinite(value)) return 0xbbbbbb;
        const Color c = viridis(high > low ? (value - low) / (high - low) : 0);
        const auto byte = [](double part) { return static_cast<std::uint32_t>(std::lround(255 * part)); };
        return byte(c.red) << 16 | byte(c.green) << 8 | byte(c.blue);
    }

    SurfacePointer surface_;
    std::unique_ptr<cairo_t, Destroy> context_;
};

}  // namespace support
