#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "../support/file_error.hpp"
#include "arrays.hpp"
#include "settings.hpp"
#include "write_array.hpp"

namespace pool {

/// Refuses HDF5 files where they cannot be written. Throws FileError.
inline void check_formats(const Settings& settings) {
    for (const auto& output : {settings.output, settings.plan, settings.weights, settings.slots.save}) {
        if (output) is_hdf5_output(*output);
    }
}

/// Refuses an output that would replace an input, also by another link to it, unless --force is given. A new array in
/// the folder of --input is refused, too: the next run would take it for a bag. Throws FileError.
inline void refuse_overwriting(const Settings& settings) {
    if (settings.force) return;
    const auto same = [](const std::filesystem::path& a, const std::filesystem::path& b) {
        std::error_code none_yet;
        return std::filesystem::equivalent(a, b, none_yet);
    };
    const auto refuse = [](const std::filesystem::path& output, const std::string& found) {
        throw support::FileError(output, "output", found, "another file, or --force");
    };
    const std::vector<std::pair<std::string, File>> inputs = {
        {"--input", settings.input},   {"--ptr", settings.ptr},       {"--batch", settings.batch},
        {"--reward", settings.reward}, {"--p0", settings.p0},         {"--q0", settings.q0},
        {"--scores", settings.scores}, {"--coords", settings.coords}, {"--slots", settings.slots.file}};
    for (const auto& output :
         {settings.output, settings.plan, settings.weights, settings.heatmap, settings.report, settings.slots.save}) {
        if (!output) continue;
        for (const auto& [option, input] : inputs) {
            if (input && same(*output, ArrayPlace(*input).file)) refuse(*output, "the file of " + option);
        }
        const auto folder = output->has_parent_path() ? output->parent_path() : std::filesystem::path(".");
        if (is_array(*output) && same(folder, settings.input)) refuse(*output, "a file in the folder of --input");
        // The same file by a link from elsewhere.
        std::error_code no_folder;
        for (const auto& entry : std::filesystem::directory_iterator(settings.input, no_folder)) {
            if (same(*output, entry.path())) refuse(*output, "a file in the folder of --input");
        }
    }
}

}  // namespace pool
