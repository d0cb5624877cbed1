#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <otpool/core/matrix.hpp>

#include "arrays.hpp"

namespace pool {

using otpool::Index;
using otpool::Matrix;
using support::FileError;

/// The files of --input: one with the instances of all bags, or those of a folder, each with the instances of one bag.
class InstanceFiles {
public:
    /// Opens and checks all of them. Throws FileError.
    explicit InstanceFiles(const std::filesystem::path& input) {
        std::error_code error;
        is_folder_ = std::filesystem::is_directory(input, error);
        if (is_folder_) {
            open_folder(input);
        } else {
            open(input);
        }
        for (const auto& file : files_) {
            // Some write (0,) for a slide without patches, whose number of features is then that of the others.
            const bool is_nothing = file.shape() == std::vector<std::int64_t>{0};
            if (!is_nothing) take_features(file);
            begins_.push_back(begins_.back() + (is_nothing ? 0 : file.matrix_shape()[0]));
        }
        if (features() == 0) refuse_shape(files_[0], "at least one feature");
    }

    bool is_folder() const { return is_folder_; }
    Index features() const { return features_; }

    /// Where every file's instances begin among all, and how many there are: one entry more than files.
    const std::vector<std::int64_t>& begins() const { return begins_; }

    /// The files' names in a folder.
    const std::vector<std::string>& names() const { return names_; }
    /// How many files of a folder are left out, as they are no arrays.
    Index left_out() const { return left_out_; }

    /// The type to compute in: float32 if it holds all numbers of every file's type, else float64.
    otpool::Dtype dtype() const {
        const bool all_float = std::all_of(files_.begin(), files_.end(), [](const Array& file) {
            return computed_in(file.dtype()) == otpool::Dtype::float32;
        });
        return all_float ? otpool::Dtype::float32 : otpool::Dtype::float64;
    }

    /// All instances: D x sum N.
    template <class Scalar>
    Matrix<Scalar> read() const {
        Matrix<Scalar> instances(features(), begins_.back());
        for (std::size_t f = 0; f < files_.size(); ++f) {
            if (begins_[f] == begins_[f + 1]) continue;
            files_[f].read_matrix(instances.data() + begins_[f] * features());
        }
        return instances;
    }

    /// How many files there are, where file f is, and which has instance n of all.
    std::size_t size() const { return files_.size(); }
    const ArrayPlace& place(std::size_t f) const { return places_[f]; }
    std::size_t file_of(Index n) const {
        return static_cast<std::size_t>(std::upper_bound(begins_.begin(), begins_.end(), n) - begins_.begin()) - 1;
    }
    /// The file of instance n of all, and the row there.
    const std::filesystem::path& path_of(Index n) const { return files_[file_of(n)].path(); }
    Index row_of(Index n) const { return n - begins_[file_of(n)]; }

private:
    /// Those of the first file, which the others must have, too.
    void take_features(const Array& file) {
        const Index features = file.matrix_shape()[1];
        if (features == 0) refuse_shape(file, "at least one feature");
        if (features_ == 0) {
            features_ = features;
            of_features_ = file.path().string();
        }
        if (features != features_) {
            refuse_shape(file, "(N, " + std::to_string(features_) + "), with the features of " + of_features_);
        }
    }

    void open(const std::filesystem::path& path) {
        places_.emplace_back(path);
        files_.push_back(open_array(places_.back(), "X"));
    }

    void open_folder(const std::filesystem::path& folder) {
        std::vector<std::filesystem::path> paths, others;
        std::error_code error;
        for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
            const auto name = entry.path().filename();
            if (!entry.is_regular_file() || name.string().starts_with('.')) continue;
            (is_array(name) ? paths : others).push_back(entry.path());
        }
        if (error) throw FileError(folder, "input", error.message(), "a folder that can be read");
        if (paths.empty() && !others.empty()) {
            // A folder of, say, .pt files: the message about one says how to convert it.
            support::NpyFile(*std::min_element(others.begin(), others.end()));
        }
        if (paths.empty()) throw FileError(folder, "input", "no .npy, .npz or .h5 file", "one such file a bag");
        std::sort(paths.begin(), paths.end());
        for (const auto& path : paths) {
            open(path);
            names_.push_back(path.filename().string());
        }
        left_out_ = static_cast<Index>(others.size());
    }

    [[noreturn]] static void refuse_shape(const Array& file, const std::string& allowed) {
        throw FileError(file.path(), "shape", support::to_string(file.shape()), allowed);
    }

    bool is_folder_ = false;
    Index features_ = 0;
    std::string of_features_;  ///< The file that they are of.
    std::vector<ArrayPlace> places_;
    std::vector<Array> files_;
    std::vector<std::string> names_;
    std::vector<std::int64_t> begins_ = {0};
    Index left_out_ = 0;
};

}  // namespace pool
