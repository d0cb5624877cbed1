#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tests {

/// A member of a ZIP archive put together by hand.
struct ZipMember {
    std::string name;
    std::string data;
    std::string deflated = {};  ///< The data as deflate stores it; if empty, the data is stored as it is.
};

inline std::uint32_t crc32(const std::string& data) {
    std::uint32_t crc = ~std::uint32_t{0};
    for (const char c : data) {
        crc ^= static_cast<unsigned char>(c);
        for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
    }
    return ~crc;
}

/// The bytes of an archive of these members.
inline std::string zip(const std::vector<ZipMember>& members) {
    const auto number = [](std::size_t value, int bytes) {
        std::string text;
        for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i) & 255);
        return text;
    };
    std::string archive, directory;
    for (const ZipMember& member : members) {
        const bool stored = member.deflated.empty();
        const std::string& content = stored ? member.data : member.deflated;
        const std::string common = number(20, 2) + number(0, 2) + number(stored ? 0 : 8, 2) + number(0, 4) +
                                   number(crc32(member.data), 4) + number(content.size(), 4) +
                                   number(member.data.size(), 4) + number(member.name.size(), 2) + number(0, 2);
        directory +=
            "PK\1\2" + number(20, 2) + common + std::string(10, '\0') + number(archive.size(), 4) + member.name;
        archive += "PK\3\4" + common + member.name + content;
    }
    const std::string count = number(members.size(), 2);
    return archive + directory + "PK\5\6" + number(0, 4) + count + count + number(directory.size(), 4) +
           number(archive.size(), 4) + number(0, 2);
}

}  // namespace tests
