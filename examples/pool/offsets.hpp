#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <otpool/core/matrix.hpp>

#include "arrays.hpp"
#include "instance_files.hpp"
#include "settings.hpp"

// Where bags begin among the instances: B + 1 offsets.

namespace pool {

using Offsets = std::vector<std::int64_t>;
using otpool::Vector;

namespace detail {

template <class Value>
std::string printed(Value value) {
    std::ostringstream text;
    text << value;
    return text.str();
}

[[noreturn]] inline void refuse_empty(const std::filesystem::path& file, std::int64_t bag) {
    throw FileError(file, "bag " + printed(bag), "empty", "at least one instance, or --empty zeros");
}

inline Offsets offsets_of_ptr(const Array& file, const Settings& settings, Index instances) {
    const Vector<std::int64_t> read = file.vector<std::int64_t>();
    Offsets offsets(read.begin(), read.end());
    const auto entry = [](std::size_t b) { return "ptr[" + printed(b) + "]"; };
    const auto require = [&](bool holds, const std::string& field, const std::string& found,
                             const std::string& allowed) {
        if (!holds) throw FileError(file.path(), field, found, allowed);
    };
    require(!offsets.empty(), "shape", support::to_string(file.shape()), "(B + 1,) for B bags");
    require(offsets[0] == 0, entry(0), printed(offsets[0]), "0");
    for (std::size_t b = 1; b < offsets.size(); ++b) {
        require(offsets[b] >= offsets[b - 1], entry(b), printed(offsets[b]),
                "at least " + entry(b - 1) + " = " + printed(offsets[b - 1]));
    }
    require(offsets.back() == instances, entry(offsets.size() - 1), printed(offsets.back()),
            printed(instances) + ", the number of instances in " + settings.input.string());
    return offsets;
}

/// From the index of every instance's bag. A bag is empty if its index is left out.
inline Offsets offsets_of_batch(const Array& file, const Settings& settings, Index instances) {
    const Vector<std::int64_t> batch = file.vector<std::int64_t>();
    const auto entry = [](Index n) { return "batch[" + printed(n) + "]"; };
    if (batch.size() != instances) {
        throw FileError(file.path(), "shape", support::to_string(file.shape()),
                        "(" + printed(instances) + ",), the number of instances in " + settings.input.string());
    }
    Offsets offsets = {0};
    for (Index n = 0; n < batch.size(); ++n) {
        const std::int64_t before = n == 0 ? -1 : batch[n - 1];
        if (batch[n] < std::max<std::int64_t>(before, 0)) {
            throw FileError(file.path(), entry(n), printed(batch[n]),
                            n == 0 ? "at least 0" : "at least " + entry(n - 1) + " = " + printed(before));
        }
        if (batch[n] == before) continue;
        // Before memory for all the bags that are left out is asked for.
        if (batch[n] > before + 1 && settings.empty == EmptyBags::error) refuse_empty(file.path(), before + 1);
        offsets.resize(static_cast<std::size_t>(batch[n]) + 1, n);
    }
    if (instances > 0) offsets.push_back(instances);
    return offsets;
}

inline Offsets offsets_of_folder(const Settings& settings, const InstanceFiles& input) {
    for (const auto& [option, file] : {std::pair("--ptr", settings.ptr), std::pair("--batch", settings.batch)}) {
        if (file) throw UsageError(option, "with a folder of one file a bag", "--input with one file");
    }
    return input.begins();
}

}  // namespace detail

/// The offsets by --ptr, --batch, the files of a folder, or the array `ptr` or `batch` beside X in a .npz archive; else
/// all instances are one bag. Throws FileError and UsageError.
inline Offsets read_offsets(const Settings& settings, const InstanceFiles& input) {
    const Index instances = input.begins().back();
    File ptr = settings.ptr;
    File batch = settings.batch;
    const ArrayPlace x(settings.input);
    if (!ptr && !batch && x.format() != ArrayPlace::Format::npy) {
        const std::vector<std::string> arrays = arrays_of(x);
        const auto beside = [&](const std::string& name) -> File {
            if (std::count(arrays.begin(), arrays.end(), name) == 0) return {};
            return x.file.string() + ":" + name;
        };
        ptr = beside("ptr");
        batch = beside("batch");
        if (ptr && batch) throw FileError(x.file, "bags", "both ptr and batch", "--ptr or --batch that names one");
    }
    Offsets offsets = {0, instances};
    if (input.is_folder()) offsets = detail::offsets_of_folder(settings, input);
    const auto open = [](const std::filesystem::path& path, const char* name) {
        return open_array(ArrayPlace(path), name, otpool::Elements::integers);
    };
    if (ptr) offsets = detail::offsets_of_ptr(open(*ptr, "ptr"), settings, instances);
    if (batch) offsets = detail::offsets_of_batch(open(*batch, "batch"), settings, instances);
    const auto empty = std::adjacent_find(offsets.begin(), offsets.end());
    if (empty != offsets.end() && settings.empty == EmptyBags::error) {
        detail::refuse_empty(ptr ? *ptr : batch ? *batch : settings.input, empty - offsets.begin());
    }
    return offsets;
}

}  // namespace pool
