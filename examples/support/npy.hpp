#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <ostream>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "npy_header.hpp"
#include "output_files.hpp"

// Our own reader, because none that is packaged fits: cnpy is not in Debian, and xtensor's cannot be asked
// for the type of a file before it is loaded and trusts the header's sizes.

namespace support {

template <class Scalar>
concept NpyScalar = std::same_as<Scalar, float> || std::same_as<Scalar, double> || std::same_as<Scalar, std::int32_t> ||
    std::same_as<Scalar, std::int64_t>;

template <NpyScalar Scalar>
constexpr Dtype dtype_of() {
    if constexpr (std::is_floating_point_v<Scalar>) return sizeof(Scalar) == 4 ? Dtype::float32 : Dtype::float64;
    return sizeof(Scalar) == 4 ? Dtype::int32 : Dtype::int64;
}

/// A .npy file, open for reading and checked: header understood, data exactly as long as the header says.
/// The data itself is read by matrix() or vector(), straight into its destination. Every function throws
/// FileError.
class NpyFile {
public:
    explicit NpyFile(std::filesystem::path path) : path_(std::move(path)) {
        std::error_code error;
        const auto status = std::filesystem::status(path_, error);
        if (!exists(status)) throw FileError(path_, "input", error.message(), "a .npy file");
        if (!std::filesystem::is_regular_file(status)) {
            throw FileError(path_, "input", is_directory(status) ? "a directory" : "a device or pipe", "a .npy file");
        }
        const std::uintmax_t file_size = std::filesystem::file_size(path_);
        stream_.open(path_, std::ios::binary);
        if (!stream_) throw FileError(path_, "input", std::strerror(errno), "a .npy file that can be read");
        header_ = read_npy_header(path_, stream_, file_size);
        data_ = stream_.tellg();
        check_data_size(file_size - static_cast<std::uintmax_t>(data_));
    }

    const std::filesystem::path& path() const { return path_; }
    Dtype dtype() const { return header_.dtype; }
    const std::vector<std::int64_t>& shape() const { return header_.shape; }

    /// An (R, C) array as a C x R matrix: an (N, D) array of instances becomes D x N, one column an instance.
    /// In C order that is the file byte for byte. float and double read either kind of float.
    template <NpyScalar Scalar>
    Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic> matrix() {
        check_request<Scalar>(2, "(rows, columns)");
        const Eigen::Index rows = header_.shape[0];
        const Eigen::Index columns = header_.shape[1];
        Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic> values(columns, rows);
        if (!header_.fortran_order) {
            read(values.data(), values.size());
        } else if (rows > 0) {
            Eigen::Matrix<Scalar, Eigen::Dynamic, 1> file_column(rows);
            for (Eigen::Index c = 0; c < columns; ++c) {
                read(file_column.data(), rows);
                values.row(c) = file_column.transpose();
            }
        }
        return values;
    }

    /// A 1-D array. std::int64_t reads either kind of integer.
    template <NpyScalar Scalar>
    Eigen::Matrix<Scalar, Eigen::Dynamic, 1> vector() {
        check_request<Scalar>(1, "(length,)");
        Eigen::Matrix<Scalar, Eigen::Dynamic, 1> values(header_.shape[0]);
        read(values.data(), values.size());
        return values;
    }

private:
    void check_data_size(std::uintmax_t found) const {
        const std::uintmax_t needed = data_size(path_, header_);
        if (found == needed) return;
        throw FileError(path_, found < needed ? "data: truncated" : "data: too long", std::to_string(found) + " bytes",
                        "the " + std::to_string(needed) + " bytes of shape " + to_string(header_.shape) + " of " +
                            to_string(header_.dtype));
    }

    template <class Scalar>
    void check_request(std::size_t dimensions, const char* allowed_shape) {
        static_assert(!std::same_as<Scalar, std::int32_t>, "integers are read as std::int64_t");
        const bool is_float = header_.dtype == Dtype::float32 || header_.dtype == Dtype::float64;
        if (is_float != std::is_floating_point_v<Scalar>) {
            throw FileError(path_, "descr", to_string(header_.dtype),
                            is_float ? "int32 or int64" : "float32 or float64");
        }
        if (header_.shape.size() != dimensions) {
            throw FileError(path_, "shape", to_string(header_.shape), allowed_shape);
        }
        stream_.clear();
        stream_.seekg(data_);
    }

    // The next `count` elements of the file, whatever their type, as Scalar.
    template <class Scalar>
    void read(Scalar* to, Eigen::Index count) {
        if constexpr (std::is_floating_point_v<Scalar>) {
            header_.dtype == Dtype::float32 ? read_as<float>(to, count) : read_as<double>(to, count);
        } else {
            header_.dtype == Dtype::int32 ? read_as<std::int32_t>(to, count) : read_as<std::int64_t>(to, count);
        }
    }

    template <class Stored, class Scalar>
    void read_as(Scalar* to, Eigen::Index count) {
        std::array<Stored, 8192> buffer;
        while (count > 0) {
            const auto chunk = std::min(count, static_cast<Eigen::Index>(buffer.size()));
            const auto bytes = chunk * static_cast<Eigen::Index>(sizeof(Stored));
            if (!stream_.read(reinterpret_cast<char*>(buffer.data()), bytes)) {
                throw FileError(path_, "data", "an end or error while reading", "a file that stays as it was opened");
            }
            if (header_.byte_order != std::endian::native) swap_bytes(buffer.data(), chunk);
            to = std::transform(buffer.data(), buffer.data() + chunk, to,
                                [this](Stored value) { return convert<Scalar>(value); });
            count -= chunk;
        }
    }

    template <class Stored>
    static void swap_bytes(Stored* values, Eigen::Index count) {
        auto* bytes = reinterpret_cast<unsigned char*>(values);
        for (Eigen::Index i = 0; i < count; ++i, bytes += sizeof(Stored)) std::reverse(bytes, bytes + sizeof(Stored));
    }

    template <class Scalar, class Stored>
    Scalar convert(Stored value) const {
        if constexpr (std::same_as<Scalar, float> && std::same_as<Stored, double>) {
            // It would become an infinity, which the file does not contain.
            constexpr double largest = std::numeric_limits<float>::max();
            if (std::isfinite(value) && std::abs(value) > largest) {
                throw FileError(path_, "data", number(value), "magnitudes up to 3.40282e+38 as float32");
            }
        }
        return static_cast<Scalar>(value);
    }

    static std::string number(double value) { return (std::ostringstream() << value).str(); }

    std::filesystem::path path_;
    std::ifstream stream_;
    NpyHeader header_;
    std::streamoff data_ = 0;
};

/// Writes a D x N matrix as an (N, D) array in C order, or what is a vector at compile time as a 1-D array,
/// in format version 1.0 and byte for byte as NumPy does. Whether the stream took it is for the stream's
/// owner to check.
template <class Derived>
requires NpyScalar<typename Derived::Scalar>
void write_npy(std::ostream& stream, const Eigen::MatrixBase<Derived>& values) {
    using Scalar = typename Derived::Scalar;
    const auto shape = Derived::IsVectorAtCompileTime ? std::vector<std::int64_t>{values.size()}
                                                      : std::vector<std::int64_t>{values.cols(), values.rows()};
    std::string header = std::string("{'descr': '") + (std::endian::native == std::endian::little ? '<' : '>') +
                         (std::is_floating_point_v<Scalar> ? 'f' : 'i') + std::to_string(sizeof(Scalar)) +
                         "', 'fortran_order': False, 'shape': " + to_string(shape) + ", }";
    // The data begins at a multiple of 64 bytes, so that it can be mapped.
    const std::size_t before = detail::npy_magic.size() + 4;
    header.append(63 - (before + header.size()) % 64, ' ').push_back('\n');

    stream << detail::npy_magic << '\1' << '\0' << static_cast<char>(header.size() & 255)
           << static_cast<char>(header.size() >> 8) << header;
    Eigen::Matrix<Scalar, Eigen::Dynamic, 1> column;
    for (Eigen::Index n = 0; n < values.cols(); ++n) {
        column = values.col(n);
        stream.write(reinterpret_cast<const char*>(column.data()),
                     column.size() * static_cast<std::streamsize>(sizeof(Scalar)));
    }
}

/// Writes one file, whole or not at all. Throws FileError.
template <class Derived>
void write_npy(const std::filesystem::path& path, const Eigen::MatrixBase<Derived>& values) {
    OutputFiles outputs;
    write_npy(outputs.add(path).stream(), values);
    outputs.commit();
}

}  // namespace support
