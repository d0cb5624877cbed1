#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "../support/file_format.hpp"
#include "../support/npy.hpp"
#include "array.hpp"
#include "hdf5.hpp"
#include "names.hpp"
#include "zip.hpp"

namespace pool {

/// Whether a file in a folder of bags is one of them, by its name.
inline bool is_array(const std::filesystem::path& file) {
    const auto ending = file.extension();
    return ending == ".npy" || ending == ".npz" || ending == ".h5" || ending == ".hdf5";
}

/// Where an option's array is: in FILE.npy or an archive of arrays, FILE.npz or FILE.h5, or in FILE.npz:NAME the one called
/// NAME.
struct ArrayPlace {
    enum class Format { npy, npz, hdf5 };  ///< npy is also a file of no known format, or none.

    std::filesystem::path file;
    std::string name;  ///< Empty if none is given.

    explicit ArrayPlace(const std::filesystem::path& given) : file(given) {
        const std::string text = given.string();
        std::error_code error;
        if (std::filesystem::exists(given, error)) return;
        for (const std::string ending : {".npz:", ".h5:", ".hdf5:"}) {
            const std::size_t at = text.rfind(ending);
            if (at == std::string::npos) continue;
            file = text.substr(0, at + ending.size() - 1);
            name = text.substr(at + ending.size());
            return;
        }
    }

    /// By the file's first bytes, or its name.
    Format format() const {
        std::error_code error;
        if (!std::filesystem::is_regular_file(file, error)) return Format::npy;
        std::ifstream stream(file, std::ios::binary);
        const std::string first = support::read_bytes(stream, support::format_bytes);
        return is_hdf5(first) ? Format::hdf5 : support::is_npz(file, first) ? Format::npz : Format::npy;
    }
};

/// The names of the arrays in an archive; none in another file. Throws FileError.
inline std::vector<std::string> arrays_of(const ArrayPlace& archive) {
    const ArrayPlace::Format format = archive.format();
    if (format == ArrayPlace::Format::hdf5) return hdf5_arrays(archive.file);
    std::vector<std::string> names;
    if (format == ArrayPlace::Format::npy) return names;
    constexpr std::string_view ending = ".npy";
    for (std::string& member : zip_members(archive.file)) {
        if (member.ends_with(ending)) names.push_back(member.substr(0, member.size() - ending.size()));
    }
    return names;
}

namespace detail {

/// The array of a .npz archive that is named, else the one called `usual_name`, else the only one.
inline support::NpyFile open_in_npz(const ArrayPlace& place, const std::string& usual_name, otpool::Elements elements) {
    const std::vector<std::string> arrays = arrays_of(place);
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

inline support::NpyFile open_npy(const ArrayPlace& place, otpool::Elements elements) {
    if (place.name.empty()) return support::NpyFile(place.file, elements);
    support::NpyFile(place.file, elements);  // a file of another format, or none, has a message of its own
    throw support::FileError(place.file, "format", "a .npy file", "a .npz archive, or no name after it");
}

}  // namespace detail

/// Opens an array. In an archive it is the one that is named, else the one called `usual_name`, which for instances is `X`
/// in a .npz archive and `features` in an HDF5 file, else the only one (in an HDF5 file the only matrix of floats). Throws
/// FileError.
inline Array open_array(const ArrayPlace& place, const std::string& usual_name,
                        otpool::Elements elements = otpool::Elements::numbers) {
    switch (place.format()) {
        case ArrayPlace::Format::npz: return detail::open_in_npz(place, usual_name, elements);
        case ArrayPlace::Format::hdf5: return open_hdf5_array(place.file, place.name, usual_name, elements);
        default: return detail::open_npy(place, elements);
    }
}

}  // namespace pool
