#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include <otpool/adapter/npy_header.hpp>

#include "file_error.hpp"

namespace support {

using otpool::detail::npy_magic;

/// How many of a file's first bytes tell its format.
constexpr std::size_t format_bytes = 512;

namespace detail {

/// Whether a ZIP archive begins so, with a first member of a name that ends so.
inline bool is_zip_of(std::string_view first, std::string_view ending) {
    constexpr std::size_t name_at = 30;
    if (!first.starts_with("PK\3\4") || first.size() < name_at) return false;
    const auto length = static_cast<std::size_t>(static_cast<unsigned char>(first[26])) +
                        256 * static_cast<std::size_t>(static_cast<unsigned char>(first[27]));
    return first.substr(name_at, length).ends_with(ending);
}

inline bool is_text(std::string_view first) {
    return std::all_of(first.begin(), first.end(), [](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return (byte >= 0x20 && byte != 0x7f) || c == '\t' || c == '\r' || c == '\n';
    });
}

/// A format that is not read here, how to know it, and how Python reads it as an array.
struct FileFormat {
    const char* name;
    std::string_view extensions;  ///< ".a.b." for files *.a and *.b, which may begin with any bytes.
    bool (*begins)(std::string_view first);
    const char* modules;
    const char* array;  ///< A Python expression, with @ for the file's name in quotes.
    const char* hint;
};

// The first that fits counts.
inline constexpr std::array<FileFormat, 11> file_formats = {{
    {"a .npz archive", ".", [](std::string_view first) { return is_zip_of(first, ".npy"); }, "numpy",
     R"(numpy.load(@)["X"])", R"("X" is the array's name)"},
    {"a PyTorch file", ".pt.pth.",
     [](std::string_view first) {
         return is_zip_of(first, "data.pkl") || first.starts_with("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20");
     },
     "numpy, torch", R"(torch.load(@, map_location="cpu").numpy(force=True))",
     R"(if it holds a dict: torch.load(...)["NAME"].numpy(...))"},
    {"a Python pickle", ".pkl.pickle.",
     [](std::string_view first) { return first.size() > 2 && first[0] == '\x80' && first[1] >= 2 && first[1] <= 5; },
     "numpy, pickle", R"(pickle.load(open(@, "rb")))", "only if you trust it, as a pickle may run any program"},
    {"a MATLAB 7.3 file", ".", [](std::string_view first) { return first.starts_with("MATLAB 7.3 MAT-file"); },
     "h5py, numpy", R"(h5py.File(@)["X"][()].T)", R"("X" is the variable's name)"},
    {"a MATLAB file", ".mat.", [](std::string_view first) { return first.starts_with("MATLAB 5.0 MAT-file"); },
     "numpy, scipy.io", R"(scipy.io.loadmat(@)["X"])", R"("X" is the variable's name)"},
    {"an HDF5 file", ".h5.hdf5.", [](std::string_view first) { return first.starts_with("\x89HDF\r\n\x1a\n"); },
     "h5py, numpy", R"(h5py.File(@)["features"][()])", R"("features" is one of list(h5py.File(...)))"},
    {"a safetensors file", ".safetensors.",
     [](std::string_view first) { return first.size() > 10 && first.substr(5, 5) == std::string_view("\0\0\0{\"", 5); },
     "numpy, safetensors.numpy", R"(safetensors.numpy.load_file(@)["X"])", R"("X" is the tensor's name)"},
    {"a Parquet file", ".parquet.", [](std::string_view first) { return first.starts_with("PAR1"); }, "numpy, pandas",
     "pandas.read_parquet(@).to_numpy()", "all columns must be numbers"},
    {"a ZIP archive", ".zip.", [](std::string_view first) { return first.starts_with("PK\3\4"); }, "numpy",
     R"(numpy.load(@)["X"])", R"(if it was made by numpy.savez; "X" is the array's name)"},
    {"text with commas", ".csv.",
     [](std::string_view first) {
         return is_text(first) && first.substr(0, first.find('\n')).find(',') != std::string_view::npos;
     },
     "numpy", R"(numpy.loadtxt(@, delimiter=","))", "with skiprows=1 if the first line has names"},
    {"text", ".txt.tsv.", is_text, "numpy", "numpy.loadtxt(@)", "with skiprows=1 if the first line has names"},
}};

inline const FileFormat* format_of(const std::filesystem::path& file, std::string_view first) {
    const auto fits = [&](const auto& condition) {
        const auto* found = std::find_if(file_formats.begin(), file_formats.end(), condition);
        return found == file_formats.end() ? nullptr : found;
    };
    if (const auto* format = fits([&](const FileFormat& f) { return f.begins(first); })) return format;
    const std::string extension = file.extension().string() + ".";
    if (extension.size() < 2) return nullptr;
    return fits([&](const FileFormat& f) { return f.extensions.find(extension) != std::string_view::npos; });
}

/// A line of Python that makes a .npy file of the file, beside it.
inline std::string conversion(const FileFormat& format, const std::filesystem::path& file) {
    auto made = file;
    made.replace_extension(file.extension() == ".npy" ? ".converted.npy" : ".npy");
    std::string array = format.array;
    const auto quoted = [](const std::filesystem::path& name) { return '"' + name.string() + '"'; };
    array.replace(array.find('@'), 1, quoted(file));
    return std::string("import ") + format.modules + "; numpy.save(" + quoted(made) + ", " + array + ")";
}

}  // namespace detail

/// Whether a file that begins so is an archive of .npy files.
inline bool is_npz(const std::filesystem::path& file, std::string_view first) {
    // The name decides where the first member does not: an archive can be empty, or damaged.
    const bool named_so = first.starts_with("PK") && file.extension() == ".npz";
    return detail::is_zip_of(first, ".npy") || (named_so && !detail::is_zip_of(first, "data.pkl"));
}

/// Refuses a file that does not begin as a .npy file does: says what it is and how to make a .npy file of it.
[[noreturn]] inline void refuse_format(const std::filesystem::path& file, std::string_view first) {
    constexpr auto allowed = "a .npy file";
    if (first.empty()) throw FileError(file, "format", "an empty file", allowed);
    if (npy_magic.starts_with(first)) {
        throw FileError(file, "format", "the first " + std::to_string(first.size()) + " bytes of a .npy file", allowed);
    }
    if (first.starts_with("version https://git-lfs")) {
        throw FileError(file, "format", "a pointer of Git LFS", "the file itself, which `git lfs pull` gets");
    }
    if (const auto* format = detail::format_of(file, first)) {
        throw FileError(
            file, "format", format->name,
            std::string(allowed) + ", made in Python by: " + detail::conversion(*format, file) + "  # " + format->hint);
    }
    throw FileError(file, "format", "a file that begins with '" + printable(first.substr(0, 8)) + "'", allowed);
}

}  // namespace support
