#pragma once

#include <exception>
#include <iostream>
#include <stdexcept>

#include <CLI/CLI.hpp>

namespace support {

/// Parses the arguments and calls run(). Returns what main() returns: 0, also after --help; 2 after an error, whose message
/// goes to stderr, after the program's name.
inline int run_program(CLI::App& app, int argc, char** argv, const auto& run) {
    try {
        app.parse(argc, argv);
        run();
        if (!std::cout.flush()) throw std::runtime_error("standard output cannot be written");
        return 0;
    } catch (const CLI::Success& help) {
        return app.exit(help);
    } catch (const std::exception& error) {
        std::cerr << app.get_name() << ": " << error.what() << '\n';
        return 2;
    }
}

}  // namespace support
