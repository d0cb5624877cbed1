#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>

#include "options.hpp"
#include "settings.hpp"

// How much memory the program may take, and whether bags fit in it.

namespace pool {

/// Half of the memory that the system could give now, in bytes.
inline std::int64_t half_of_free_memory() {
    std::ifstream known("/proc/meminfo");
    for (std::string name; known >> name;) {
        std::int64_t kibibytes = 0;
        if (name == "MemAvailable:" && known >> kibibytes) return kibibytes * 1024 / 2;
        known.ignore(256, '\n');
    }
#ifdef _SC_AVPHYS_PAGES
    return std::int64_t{sysconf(_SC_AVPHYS_PAGES)} * sysconf(_SC_PAGESIZE) / 2;
#else
    return std::int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE) / 4;
#endif
}

/// A size in bytes: 800M, 2G. Throws UsageError.
inline std::int64_t parse_memory(const std::string& option, const std::string& text) {
    const std::string allowed = "16M to 1000000G, such as 800M or 2G";
    std::int64_t unit = 1;
    switch (text.empty() ? '\0' : text.back()) {
        case 'M': unit = std::int64_t{1} << 20U; break;
        case 'G': unit = std::int64_t{1} << 30U; break;
        default: throw UsageError(option, "'" + text + "'", allowed);
    }
    const std::int64_t count =
        Options::whole_number(option, text.substr(0, text.size() - 1), {1, 1000000000, allowed.c_str()});
    const std::int64_t bytes = count * unit;
    if (bytes < std::int64_t{16} << 20U || bytes > std::int64_t{1000000} << 30U) {
        throw UsageError(option, "'" + text + "'", allowed);
    }
    return bytes;
}

/// 20.5 GB
inline std::string printed_bytes(double bytes) {
    char text[32];
    if (bytes >= 1e9) {
        std::snprintf(text, sizeof text, "%.1f GB", bytes / 1e9);
    } else {
        std::snprintf(text, sizeof text, "%.1f MB", bytes / 1e6);
    }
    return text;
}

/// About how many bytes it takes to pool these instances in memory: they themselves, a plan if one is wanted, and what a
/// solver keeps of each instance.
inline std::int64_t bytes_in_memory(const Settings& settings, std::int64_t features, std::int64_t instances,
                                    std::int64_t bytes_of_number) {
    constexpr std::int64_t of_instance = 12 * sizeof(double);
    const std::int64_t matrices = settings.plan ? 2 : 1;
    return instances * (matrices * features * bytes_of_number + of_instance);
}

}  // namespace pool
