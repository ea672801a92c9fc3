// A file appears whole or not at all, and what killed writers leave behind goes away.
#include "shoal/run/atomic_file.h"

#include "run/temporary_folder.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace shoal::run {
namespace {

Bytes bytes_of(std::string_view text) {
    const ByteView view = as_bytes(text);
    return Bytes(view.begin(), view.end());
}

/// A process id that nobody has any more.
pid_t ended_process() {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(0);
    ::waitpid(child, nullptr, 0);
    return child;
}

TEST(AtomicFile, is_not_there_before_it_is_committed_and_replaces_the_old_one_then) {
    const TemporaryFolder folder;
    const std::filesystem::path target = folder / "deep/below/file";
    {
        AtomicFile first(target);
        first.write(bytes_of("old"));
        EXPECT_FALSE(std::filesystem::exists(target));
        first.commit();
    }
    {
        AtomicFile second(target);
        second.write(bytes_of("new and longer"));
        EXPECT_EQ(read_whole(target), "old");
    }
    EXPECT_EQ(read_whole(target), "old") << "given up without a commit";
    AtomicFile third(target);
    third.write(bytes_of("new"));
    third.commit();
    EXPECT_EQ(read_whole(target), "new");
}

TEST(AtomicFile, of_a_killed_process_is_removed_and_nothing_else) {
    const TemporaryFolder folder;
    const std::string gone = std::to_string(ended_process()), own = std::to_string(::getpid());
    const std::vector<std::string> abandoned = {"checkpoint-7.safetensors." + gone + ".tmp",
                                                "trial." + gone + ".tmp"};
    const std::vector<std::string> kept = {"checkpoint-7.safetensors",
                                           "checkpoint-8.json." + own + ".tmp",
                                           "notes.tmp",
                                           "a.-1.tmp",
                                           "a.0.tmp",
                                           "a.12x.tmp",
                                           "." + gone + ".bak",
                                           "checkpoint-9.json." + gone};
    for (const auto* names : {&abandoned, &kept})
        for (const std::string& name : *names) write_whole(folder / name, "x");
    EXPECT_EQ(AtomicFile::remove_abandoned(folder.path()), 2);
    for (const std::string& name : abandoned) EXPECT_FALSE(std::filesystem::exists(folder / name)) << name;
    for (const std::string& name : kept) EXPECT_TRUE(std::filesystem::exists(folder / name)) << name;
    EXPECT_EQ(AtomicFile::remove_abandoned(folder / "no such folder"), 0);
}

}  // namespace
}  // namespace shoal::run
