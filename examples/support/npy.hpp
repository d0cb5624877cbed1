#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <istream>
#include <ostream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <otpool/adapter/npy_header.hpp>

#include "file_format.hpp"
#include "input_file.hpp"
#include "output_files.hpp"

// Our own reader, because none that is packaged fits: cnpy is not in Debian, and xtensor's cannot be asked
// for the type of a file before it is loaded and trusts the header's sizes.

namespace support {

using otpool::Dtype;
using otpool::Elements;

/// A shape as Python prints it: (), (5,), (5, 3).
inline std::string to_string(const std::vector<std::int64_t>& shape) { return otpool::detail::printed_shape(shape); }

template <class Scalar>
concept NpyScalar = std::same_as<Scalar, float> || std::same_as<Scalar, double> || std::same_as<Scalar, std::int32_t> ||
    std::same_as<Scalar, std::int64_t>;

template <NpyScalar Scalar>
constexpr Dtype dtype_of() {
    if constexpr (std::is_floating_point_v<Scalar>) return sizeof(Scalar) == 4 ? Dtype::float32 : Dtype::float64;
    return sizeof(Scalar) == 4 ? Dtype::int32 : Dtype::int64;
}

/// A .npy file that was checked: header understood, data exactly as long as the header says. It is open only while
/// something is read. matrix() and vector() read the data straight into its destination. Every function throws
/// FileError.
class NpyFile {
public:
    explicit NpyFile(const std::filesystem::path& path, Elements elements = Elements::numbers)
        : NpyFile(path, elements, [path] { return open_file(path, "a .npy file"); }) {}

    /// The bytes that `open` opens, which may be part of a larger file. `name` is their name in messages.
    NpyFile(std::filesystem::path name, Elements elements, std::function<ByteStream()> open)
        : path_(std::move(name)), open_(std::move(open)) {
        const ByteStream file = open_();
        const std::string magic = read_bytes(*file.stream, npy_magic.size());
        if (magic != npy_magic) refuse_format(path_, magic + read_bytes(*file.stream, format_bytes - magic.size()));
        header_ = otpool::detail::read_npy_header<FileError>(path_, *file.stream, file.size, elements);
        check_elements(elements);
        check_data_size(file.size - std::min(file.size, header_.size));
    }

    const std::filesystem::path& path() const { return path_; }
    Dtype dtype() const { return header_.numbers.dtype; }
    const std::vector<std::int64_t>& shape() const { return header_.shape; }

    /// Rows and columns of a 2-D array, or of one of shape (1, rows, columns).
    std::array<Eigen::Index, 2> matrix_shape() const {
        const auto& shape = header_.shape;
        if (shape.size() == 2) return {shape[0], shape[1]};
        if (shape.size() == 3 && shape[0] == 1) return {shape[1], shape[2]};
        throw FileError(path_, "shape", to_string(shape), "(rows, columns) or (1, rows, columns)");
    }

    /// An (R, C) array as a C x R matrix: an (N, D) array of instances becomes D x N, one column an instance.
    /// In C order that is the file byte for byte. float and double read all types.
    template <NpyScalar Scalar>
    Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic> matrix() const {
        const auto [rows, columns] = matrix_shape();
        Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic> values(columns, rows);
        read_matrix(values.data());
        return values;
    }

    /// The same to memory that holds C x R numbers.
    template <NpyScalar Scalar>
    void read_matrix(Scalar* to) const {
        matrix_shape();
        read(to);
    }

    /// A 1-D array. std::int64_t reads all types of integers.
    template <NpyScalar Scalar>
    Eigen::Matrix<Scalar, Eigen::Dynamic, 1> vector() const {
        if (header_.shape.size() != 1) throw FileError(path_, "shape", to_string(header_.shape), "(length,)");
        Eigen::Matrix<Scalar, Eigen::Dynamic, 1> values(header_.shape[0]);
        read(values.data());
        return values;
    }

    /// All numbers of a matrix or a 1-D array, row after row.
    template <NpyScalar Scalar>
    void read(Scalar* to) const {
        const bool is_vector = header_.shape.size() == 1;
        const auto [rows, columns] = is_vector ? std::array<Eigen::Index, 2>{header_.shape[0], 1} : matrix_shape();
        Reading reading = begin<Scalar>();
        if (!header_.fortran_order || is_vector) {
            read(reading, to, rows * columns);
        } else if (rows > 0) {
            Eigen::Map<Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic>> values(to, columns, rows);
            Eigen::Matrix<Scalar, Eigen::Dynamic, 1> file_column(rows);
            for (Eigen::Index c = 0; c < columns; ++c) {
                read(reading, file_column.data(), rows);
                values.row(c) = file_column.transpose();
            }
        }
        end(reading);
    }

private:
    struct Reading {
        ByteStream file;
        std::vector<char> buffer;
    };

    void check_data_size(std::uintmax_t found) const {
        const std::uintmax_t needed = otpool::detail::data_size<FileError>(path_, header_);
        if (found == needed) return;
        throw FileError(path_, found < needed ? "data: truncated" : "data: too long", std::to_string(found) + " bytes",
                        "the " + std::to_string(needed) + " bytes of shape " + to_string(header_.shape) + " of " +
                            to_string(header_.numbers.dtype));
    }

    void check_elements(Elements elements) const {
        if (contains(elements, header_.numbers.dtype)) return;
        throw FileError(path_, "descr", to_string(header_.numbers.dtype), to_string(elements));
    }

    template <class Scalar>
    Reading begin() const {
        static_assert(!std::same_as<Scalar, std::int32_t>, "integers are read as std::int64_t");
        check_elements(std::is_floating_point_v<Scalar> ? Elements::numbers : Elements::integers);
        Reading reading{open_(), std::vector<char>(65536)};
        reading.file.stream->ignore(static_cast<std::streamsize>(header_.size));
        return reading;
    }

    // The next `count` elements, whatever their type, as Scalar.
    template <class Scalar>
    void read(Reading& reading, Scalar* to, Eigen::Index count) const {
        const auto size = static_cast<Eigen::Index>(header_.numbers.size());
        while (count > 0) {
            const auto chunk = std::min(count, static_cast<Eigen::Index>(reading.buffer.size()) / size);
            if (!reading.file.stream->read(reading.buffer.data(), chunk * size)) refuse_change();
            const Eigen::Index converted = header_.numbers.convert(reading.buffer.data(), chunk, to);
            if (converted < chunk) {
                throw FileError(path_, "data", header_.numbers.printed_first(reading.buffer.data() + converted * size),
                                otpool::detail::held_numbers<Scalar>);
            }
            to += chunk;
            count -= chunk;
        }
    }

    // Only at its end a member of an archive tells whether it is damaged.
    void end(Reading& reading) const {
        if (reading.file.stream->peek() != std::istream::traits_type::eof()) refuse_change();
    }

    [[noreturn]] void refuse_change() const {
        throw FileError(path_, "data", "an end or error while reading", "a file that stays as it was opened");
    }

    std::filesystem::path path_;
    std::function<ByteStream()> open_;
    otpool::detail::NpyHeader header_;
};

/// Writes a matrix, column after column, as an array of this shape in C order, in format version 1.0 and byte for byte
/// as NumPy does. Whether the stream took it is for the stream's owner to check.
template <class Derived>
requires NpyScalar<typename Derived::Scalar>
void write_npy(std::ostream& stream, const Eigen::MatrixBase<Derived>& values, const std::vector<std::int64_t>& shape) {
    using Scalar = typename Derived::Scalar;
    std::string header = std::string("{'descr': '") + (std::endian::native == std::endian::little ? '<' : '>') +
                         (std::is_floating_point_v<Scalar> ? 'f' : 'i') + std::to_string(sizeof(Scalar)) +
                         "', 'fortran_order': False, 'shape': " + to_string(shape) + ", }";
    // The data begins at a multiple of 64 bytes, so that it can be mapped.
    const std::size_t before = npy_magic.size() + 4;
    header.append(63 - (before + header.size()) % 64, ' ').push_back('\n');

    stream << npy_magic << '\1' << '\0' << static_cast<char>(header.size() & 255)
           << static_cast<char>(header.size() >> 8) << header;
    Eigen::Matrix<Scalar, Eigen::Dynamic, 1> column;
    for (Eigen::Index n = 0; n < values.cols(); ++n) {
        column = values.col(n);
        stream.write(reinterpret_cast<const char*>(column.data()),
                     column.size() * static_cast<std::streamsize>(sizeof(Scalar)));
    }
}

/// Writes a D x N matrix as an (N, D) array, or what is a vector at compile time as a 1-D array.
template <class Derived>
void write_npy(std::ostream& stream, const Eigen::MatrixBase<Derived>& values) {
    const auto shape = Derived::IsVectorAtCompileTime ? std::vector<std::int64_t>{values.size()}
                                                      : std::vector<std::int64_t>{values.cols(), values.rows()};
    write_npy(stream, values, shape);
}

/// Writes one file, whole or not at all. Throws FileError.
template <class Derived>
void write_npy(const std::filesystem::path& path, const Eigen::MatrixBase<Derived>& values) {
    OutputFiles outputs;
    write_npy(outputs.add(path).stream(), values);
    outputs.commit();
}

}  // namespace support
