#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

namespace fuzz {

/// The bytes that the fuzzer made, taken from the front; zeros where they have run out.
class Input {
public:
    Input(const std::uint8_t* data, std::size_t size) : bytes_(reinterpret_cast<const char*>(data), size) {}

    std::size_t left() const { return bytes_.size(); }

    /// The next bytes as they are in memory.
    template <class Value>
    Value take() {
        Value value{};
        const std::string_view bytes = take_bytes(sizeof value);
        std::memcpy(&value, bytes.data(), bytes.size());
        return value;
    }
    /// In [0, count).
    std::size_t below(std::size_t count) { return take<std::uint8_t>() % count; }
    bool chance(std::size_t one_in) { return below(one_in) == 1; }

    template <class Values>
    const auto& one_of(const Values& values) {
        return values[below(std::size(values))];
    }

    /// So many bytes, or all that are left.
    std::string_view take_bytes(std::size_t count) {
        const std::string_view taken = bytes_.substr(0, count);
        bytes_.remove_prefix(taken.size());
        return taken;
    }

private:
    std::string_view bytes_;
};

/// What must hold for every input: if it does not, the program ends, and libFuzzer keeps the input.
inline void expect(bool holds, const std::string& what) {
    if (holds) return;
    std::fprintf(stderr, "does not hold: %s\n", what.c_str());
    std::abort();
}

/// One line of a length that a terminal shows, without control characters.
inline void expect_message(std::string_view message) {
    bool one_line = !message.empty();
    for (const char c : message) one_line = one_line && static_cast<unsigned char>(c) >= 0x20 && c != 0x7f;
    expect(one_line, "a message of one line: " + std::string(message));
}

}  // namespace fuzz
