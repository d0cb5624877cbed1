#include "support/output_files.hpp"

#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

#include "error_of.hpp"
#include "support/catch.hpp"
#include "support/temporary_directory.hpp"

namespace fs = std::filesystem;
using support::OutputFile;
using support::OutputFiles;
using tests::error_of;
using tests::read_bytes;
using tests::TemporaryDirectory;
using tests::write_bytes;

namespace output_files_test {

std::string refusal(const fs::path& name, const std::string& found) {
    return name.string() + ": output: found " + found +
           ", allowed a file name in an existing directory that can be written";
}

std::string error_of_adding(const fs::path& name) {
    return error_of([&] { OutputFiles().add(name); });
}

/// Makes the file system refuse to let any file grow beyond `bytes`, as a full disk would.
class FileSizeLimit {
public:
    explicit FileSizeLimit(rlim_t bytes) {
        std::signal(SIGXFSZ, SIG_IGN);
        getrlimit(RLIMIT_FSIZE, &before_);
        const rlimit limit{bytes, before_.rlim_max};
        setrlimit(RLIMIT_FSIZE, &limit);
    }
    ~FileSizeLimit() { setrlimit(RLIMIT_FSIZE, &before_); }

private:
    rlimit before_{};
};

TEST_CASE("Outputs appear together, at commit and not before") {
    const TemporaryDirectory directory;
    write_bytes(directory / "old", "before");

    OutputFiles outputs;
    OutputFile& replaced = outputs.add(directory / "old");
    OutputFile& made = outputs.add(directory / "new");
    CHECK(directory.files() == std::vector<std::string>{"old"});

    replaced.stream() << "after";
    made.stream() << "fresh";
    CHECK(read_bytes(directory / "old") == "before");
    CHECK_FALSE(fs::exists(directory / "new"));

    outputs.commit();
    CHECK(read_bytes(directory / "old") == "after");
    CHECK(read_bytes(directory / "new") == "fresh");
    CHECK(directory.files() == std::vector<std::string>{"new", "old"});
}

TEST_CASE("Without commit everything stays as it was") {
    const TemporaryDirectory directory;
    write_bytes(directory / "old", "before");
    {
        OutputFiles outputs;
        outputs.add(directory / "old").stream() << "after";
        outputs.add(directory / "new").stream() << "fresh";
    }
    CHECK(read_bytes(directory / "old") == "before");
    CHECK(directory.files() == std::vector<std::string>{"old"});
}

TEST_CASE("An output that was never written to is left alone by commit") {
    const TemporaryDirectory directory;
    write_bytes(directory / "old", "before");
    OutputFiles outputs;
    outputs.add(directory / "old");
    outputs.add(directory / "new");
    outputs.commit();
    CHECK(read_bytes(directory / "old") == "before");
    CHECK(directory.files() == std::vector<std::string>{"old"});
}

TEST_CASE("A target that can't be written is refused when it is named") {
    const TemporaryDirectory directory;
    const fs::path missing = directory / "missing" / "Y.npy";
    CHECK(error_of_adding(missing) == refusal(missing, "No such file or directory"));
    CHECK(error_of_adding(directory.path()) == refusal(directory.path(), "a directory"));
    CHECK(error_of_adding("") == refusal("", "no file name"));
    const fs::path slash = directory / "missing" / "";
    CHECK(error_of_adding(slash) == refusal(slash, "no file name"));
    CHECK(error_of_adding("/dev/null") == refusal("/dev/null", "a device or pipe"));

    write_bytes(directory / "file", "");
    const fs::path below = directory / "file" / "Y.npy";
    CHECK(error_of_adding(below) == refusal(below, "Not a directory"));
    const fs::path lengthy = directory / std::string(300, 'x');
    CHECK(error_of_adding(lengthy) == refusal(lengthy, "File name too long"));
    const fs::path dangling = directory / "link";
    fs::create_symlink("nowhere", dangling);
    CHECK(error_of_adding(dangling) == refusal(dangling, "a symbolic link to nothing"));
    CHECK(directory.files() == std::vector<std::string>{"file", "link"});
}

TEST_CASE("Two outputs can't be one file") {
    const TemporaryDirectory directory;
    OutputFiles outputs;
    outputs.add(directory / "Y.npy");
    const fs::path again = directory / "." / "Y.npy";
    CHECK(error_of([&] { outputs.add(again); }) ==
          again.string() + ": output: found a file that is another output already, allowed a file of its own");

    write_bytes(directory / "one", "as it was");
    fs::create_symlink("one", directory / "link");
    fs::create_hard_link(directory / "one", directory / "two");
    outputs.add(directory / "one");
    for (const fs::path& other : {directory / "link", directory / "two"}) {
        CHECK(error_of([&] { outputs.add(other); }) ==
              other.string() + ": output: found a file that is another output already, allowed a file of its own");
    }
}

TEST_CASE("A link to an output survives, and so do the output's permissions") {
    const TemporaryDirectory directory;
    write_bytes(directory / "file", "before");
    fs::permissions(directory / "file", fs::perms::owner_read | fs::perms::owner_write);
    fs::create_symlink("file", directory / "link");
    OutputFiles outputs;
    outputs.add(directory / "link").stream() << "after";
    outputs.commit();
    CHECK(fs::is_symlink(directory / "link"));
    CHECK(read_bytes(directory / "file") == "after");
    CHECK(fs::status(directory / "file").permissions() == (fs::perms::owner_read | fs::perms::owner_write));
}

TEST_CASE("A failure to write changes no output at all") {
    const TemporaryDirectory directory;
    write_bytes(directory / "first", "before");
    {
        OutputFiles outputs;
        OutputFile& first = outputs.add(directory / "first");
        OutputFile& second = outputs.add(directory / "second");
        first.stream() << "after";
        const FileSizeLimit full_disk(1000);
        second.stream() << std::string(100000, 'x');
        CHECK(error_of([&] { outputs.commit(); }) ==
              (directory / "second").string() +
                  ": output: found an error while writing, allowed a disk with room for the whole file");
    }
    CHECK(read_bytes(directory / "first") == "before");
    CHECK(directory.files() == std::vector<std::string>{"first"});
}

TEST_CASE("A failure to replace the last output takes the earlier ones back") {
    const TemporaryDirectory directory;
    write_bytes(directory / "replaced", "before");
    {
        OutputFiles outputs;
        outputs.add(directory / "replaced").stream() << "after";
        outputs.add(directory / "made").stream() << "fresh";
        outputs.add(directory / "last").stream() << "never";
        fs::create_directory(directory / "last");  // meanwhile, by somebody else
        CHECK(error_of([&] { outputs.commit(); }) == refusal(directory / "last", "Is a directory"));
    }
    CHECK(read_bytes(directory / "replaced") == "before");
    CHECK(directory.files() == std::vector<std::string>{"last", "replaced"});
}

TEST_CASE("A message is one line whatever the file's name") {
    const std::string message = error_of_adding("no\nsuch\x1b[2J/Y.npy");
    CHECK(message == refusal("no?such?[2J/Y.npy", "No such file or directory"));
}

}  // namespace output_files_test
