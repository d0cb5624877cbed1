#pragma once

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "names.hpp"
#include "settings.hpp"

namespace pool {

/// Options that are parsed to the types of Settings. What is no value of an option is refused by a UsageError.
class Options {
public:
    explicit Options(const std::string& description) : app_(description, "pool") {
        app_.get_formatter()->column_width(22);
        app_.allow_extras();  // they are refused in parse(), by name
    }

    struct Range {
        double low, high;
        const char* allowed;
    };

    /// The group of the options that follow, a section of --help.
    void group(const std::string& name) { group_ = name; }

    template <class Store>
    void option(const std::string& name, const std::string& type, const std::string& meaning, Store store) {
        options_[name] = app_.add_option_function<std::string>(name, store, meaning)->type_name(type)->group(group_);
    }

    void file(const std::string& name, File& target, const std::string& meaning, const std::string& type = "FILE.npy") {
        option(name, type, meaning, [&target](const std::string& text) { target = text; });
    }

    void flag(const std::string& name, const std::string& meaning, const std::function<void()>& set) {
        options_[name] = app_.add_flag_callback(name, set, meaning)->group(group_);
    }

    template <class Target, class Value>
    void choice(const std::string& name, Target& target, const Names<Value>& names, const std::string& meaning) {
        std::vector<std::string> words;
        for (const auto& [value, word] : names) words.push_back(word);
        option(name, "NAME", listed(words) + "; " + meaning, [name, words, &names, &target](const std::string& text) {
            for (const auto& [value, word] : names) {
                if (word == text) {
                    target = value;
                    return;
                }
            }
            throw UsageError(name, "'" + text + "'", listed(words));
        });
    }

    template <class Target>
    void number(const std::string& name, Target& target, const Range& range, const std::string& meaning) {
        option(name, "NUMBER", meaning, [name, range, &target](const std::string& text) {
            char* end = nullptr;
            const double value = std::strtod(text.c_str(), &end);
            const bool overflown = std::isinf(value) && text.find_first_of("0123456789") != std::string::npos;
            if (text.empty() || *end != '\0' || overflown || !(value >= range.low && value <= range.high)) {
                throw UsageError(name, "'" + text + "'", range.allowed);
            }
            target = value;
        });
    }

    static int whole_number(const std::string& name, const std::string& text, const Range& range) {
        int value = 0;
        const char* const end = text.data() + text.size();
        const auto parsed = std::from_chars(text.data(), end, value);
        if (parsed.ec != std::errc() || parsed.ptr != end || value < range.low || value > range.high) {
            throw UsageError(name, "'" + text + "'", range.allowed);
        }
        return value;
    }

    template <class Target>
    void integer(const std::string& name, Target& target, const Range& range, const std::string& type,
                 const std::string& meaning) {
        option(name, type, meaning,
               [name, range, &target](const std::string& text) { target = whole_number(name, text, range); });
    }

    /// (CLI11's own look-up by name ends the program where it finds no memory.)
    bool given(const std::string& name) const { return options_.at(name)->count() > 0; }

    void version(const std::string& text) { app_.set_version_flag("--version", text); }
    void footer(const std::string& text) { app_.footer(text); }

    /// False if the user asked for help or the version, which is then printed. Throws UsageError.
    bool parse(int argc, char** argv) {
        try {
            app_.parse(argc, argv);
        } catch (const CLI::Success& help) {
            app_.exit(help);
            return false;
        } catch (const CLI::ArgumentMismatch& error) {
            const std::string option = error.what();
            throw UsageError(option.substr(0, option.find(':')), "no value or several", "one value");
        } catch (const CLI::ParseError& error) {
            throw UsageError("command line", error.what(), "what --help shows");
        }
        for (const std::string& extra : app_.remaining()) {
            throw UsageError(extra, "an unknown option", "the options that --help shows");
        }
        return true;
    }

private:
    CLI::App app_;
    std::string group_;
    std::map<std::string, const CLI::Option*> options_;
};

}  // namespace pool
