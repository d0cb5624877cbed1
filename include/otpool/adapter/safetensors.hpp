// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "otpool/adapter/file_error.hpp"
#include "otpool/adapter/safetensors_header.hpp"
#include "otpool/core/matrix.hpp"

namespace otpool {

/// A .safetensors file (github.com/huggingface/safetensors): named tensors and no code, the best format to bring
/// weights from PyTorch. Needs nlohmann_json for the header.
///
/// The constructor reads the header only. It checks the header's length and JSON, and that the tensors fill the file
/// without gap or overlap. vector(), matrix() and numbers() read F32 and F64 as double; tensors of other types may be
/// present but cannot be read. Files are not trusted: every fault is a FileError that names file and field, and no
/// memory is taken for data that the file does not hold.
///
/// A value type that holds the header and the path, not an open file; calls are const and thread-safe.
class SafetensorsFile {
public:
    /// Reads and checks the header. Throws FileError.
    explicit SafetensorsFile(std::filesystem::path path) : path_(std::move(path)) {
        detail::require_regular_file(path_, "a .safetensors file");
        const std::uintmax_t size = std::filesystem::file_size(path_);
        std::ifstream stream = open();
        const std::string header = read_header(stream, size);
        data_ = 8 + header.size();
        tensors_ = detail::SafetensorsHeader(path_, header, size - data_).tensors();
    }

    /// The path of the file.
    const std::filesystem::path& path() const { return path_; }

    /// Whether there is a tensor of this name.
    bool contains(const std::string& name) const { return tensors_.contains(name); }

    /// The names of all tensors, sorted.
    std::vector<std::string> names() const {
        std::vector<std::string> names;
        for (const auto& [name, tensor] : tensors_) names.push_back(name);
        return names;
    }

    /// The sizes of a tensor. Throws FileError if there is no tensor of that name.
    const std::vector<std::uint64_t>& shape(const std::string& name) const { return tensor(name).shape; }

    /// Reads a tensor of shape [n]. Throws FileError.
    RealVector vector(const std::string& name) const {
        const auto& found = tensor_of(name, 1, "[n], one dimension");
        RealVector values(static_cast<Index>(found.shape[0]));
        read(name, found, values);
        return values;
    }

    /// Reads a tensor of shape [r, c], as r x c. Throws FileError.
    RealMatrix matrix(const std::string& name) const {
        const auto& found = tensor_of(name, 2, "[rows, columns]");
        Eigen::Matrix<Real, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> values(static_cast<Index>(found.shape[0]),
                                                                                    static_cast<Index>(found.shape[1]));
        read(name, found, values);
        return values;
    }

    /// Reads all numbers of a tensor of any shape, the last index fastest. Throws FileError.
    RealVector numbers(const std::string& name) const {
        const auto& found = tensor_of(name);
        RealVector values(static_cast<Index>((found.end - found.begin) / (found.dtype == "F32" ? 4 : 8)));
        read(name, found, values);
        return values;
    }

private:
    std::ifstream open() const {
        std::ifstream stream(path_, std::ios::binary);
        if (!stream) throw FileError(path_, "input", std::strerror(errno), "a .safetensors file that can be read");
        return stream;
    }

    std::string read_header(std::ifstream& stream, std::uintmax_t file_size) const {
        constexpr std::uint64_t longest = 100'000'000;  // the limit of the format's own library
        std::array<char, 8> bytes{};
        if (file_size < bytes.size() || !stream.read(bytes.data(), bytes.size())) {
            throw FileError(path_, "header length", "cut off", "8 bytes");
        }
        const auto length = detail::little_endian<std::uint64_t>(bytes.data());
        const std::uint64_t largest = std::min<std::uint64_t>(longest, file_size - bytes.size());
        if (length > largest) {
            throw FileError(
                path_, "header length", std::to_string(length) + " bytes",
                largest == longest ? "up to 100000000" : "up to the " + std::to_string(largest) + " bytes that follow");
        }
        std::string header(length, '\0');
        if (!stream.read(header.data(), static_cast<std::streamsize>(length))) throw unstable("header");
        return header;
    }

    const detail::SafetensorsTensor& tensor(const std::string& name) const {
        const auto found = tensors_.find(name);
        if (found == tensors_.end()) {
            std::string all;
            for (const auto& [present, tensor] : tensors_) all += (all.empty() ? "" : ", ") + present;
            throw FileError(path_, detail::printable(name), "not there",
                            all.empty() ? "nothing, the file is empty" : detail::printable(all, 400));
        }
        return found->second;
    }

    const detail::SafetensorsTensor& tensor_of(const std::string& name) const {
        const auto& found = tensor(name);
        if (found.dtype != "F32" && found.dtype != "F64") {
            throw FileError(path_, "dtype of " + detail::printable(name), detail::printable(found.dtype), "F32 or F64");
        }
        return found;
    }

    const detail::SafetensorsTensor& tensor_of(const std::string& name, std::size_t dimensions,
                                               const char* allowed_shape) const {
        const auto& found = tensor_of(name);
        if (found.shape.size() != dimensions) {
            throw FileError(path_, "shape of " + detail::printable(name), detail::printed(found.shape), allowed_shape);
        }
        return found;
    }

    /// Reads the tensor's bytes as the entries of `values`, in the order of its memory.
    template <class Derived>
    void read(const std::string& name, const detail::SafetensorsTensor& tensor,
              Eigen::PlainObjectBase<Derived>& values) const {
        std::vector<char> bytes(static_cast<std::size_t>(tensor.end - tensor.begin));
        std::ifstream stream = open();
        stream.seekg(static_cast<std::streamoff>(data_ + tensor.begin));
        if (!stream.read(bytes.data(), static_cast<std::streamsize>(bytes.size()))) {
            throw unstable(detail::printable(name));
        }
        for (Index i = 0; i < values.size(); ++i) {
            values.data()[i] =
                tensor.dtype == "F32"
                    ? std::bit_cast<float>(detail::little_endian<std::uint32_t>(&bytes[4 * std::size_t(i)]))
                    : std::bit_cast<double>(detail::little_endian<std::uint64_t>(&bytes[8 * std::size_t(i)]));
        }
    }

    FileError unstable(const std::string& field) const {
        return {path_, field, "cut off while it is read", "a file that stays as it was opened"};
    }

    std::filesystem::path path_;
    std::map<std::string, detail::SafetensorsTensor> tensors_;
    std::uintmax_t data_ = 0;  // where the tensors' bytes begin
};

}  // namespace otpool
