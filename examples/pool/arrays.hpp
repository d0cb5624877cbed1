#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "../support/file_format.hpp"
#include "../support/npy.hpp"
#include "names.hpp"
#include "zip.hpp"

namespace pool {

/// Where an option's array is: in FILE.npy or FILE.npz, or in FILE.npz:NAME the one called NAME.
struct ArrayPlace {
    std::filesystem::path file;
    std::string name;  ///< Empty if none is given.

    explicit ArrayPlace(const std::filesystem::path& given) : file(given) {
        const std::string text = given.string();
        const std::size_t colon = text.rfind(".npz:");
        std::error_code error;
        if (colon == std::string::npos || std::filesystem::exists(given, error)) return;
        file = text.substr(0, colon + 4);
        name = text.substr(colon + 5);
    }

    /// Whether the file is an archive of .npy files, by its first bytes or its name. False if it cannot be read.
    bool in_archive() const {
        std::error_code error;
        if (!std::filesystem::is_regular_file(file, error)) return false;
        std::ifstream stream(file, std::ios::binary);
        return support::is_npz(file, support::read_bytes(stream, support::format_bytes));
    }
};

/// The names of the arrays in an archive. Throws FileError.
inline std::vector<std::string> arrays_of(const std::filesystem::path& archive) {
    constexpr std::string_view ending = ".npy";
    std::vector<std::string> names;
    for (std::string& member : zip_members(archive)) {
        if (member.ends_with(ending)) names.push_back(member.substr(0, member.size() - ending.size()));
    }
    return names;
}

/// Opens an array. In an archive it is the one that is named, else the one called `usual_name`, else the only one.
/// Throws FileError.
inline support::NpyFile open_array(const ArrayPlace& place, const std::string& usual_name,
                                   support::Elements elements = support::Elements::numbers) {
    if (!place.in_archive()) {
        if (place.name.empty()) return support::NpyFile(place.file, elements);
        support::NpyFile(place.file, elements);  // a file of another format, or none, has a message of its own
        throw support::FileError(place.file, "format", "a .npy file", "a .npz archive, or no name after it");
    }
    const std::vector<std::string> arrays = arrays_of(place.file);
    const auto has = [&](const std::string& name) { return std::count(arrays.begin(), arrays.end(), name) > 0; };
    std::string name = place.name.empty() ? usual_name : place.name;
    if (place.name.empty() && !has(name) && arrays.size() == 1) name = arrays[0];
    if (!has(name)) {
        const std::string found = arrays.empty() ? "no arrays" : "the arrays " + listed(arrays, " and ");
        throw support::FileError(place.file, "array '" + name + "'", found,
                                 "an array of this name, or " + place.file.filename().string() + ":NAME");
    }
    const std::filesystem::path shown = place.file.string() + ":" + name;
    return {shown, elements, [file = place.file, name, shown] { return open_zip_member(file, name + ".npy", shown); }};
}

}  // namespace pool
