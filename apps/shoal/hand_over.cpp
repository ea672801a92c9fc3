// `shoal train` and its like need libtorch, which costs 0.7 s and 165 MB at start: they live in a second
// program that this process becomes.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <unistd.h>

#include "shoal/base/error.h"
#include "shoal/command.h"

namespace shoal::app {
namespace {

constexpr const char* kProgram = "shoal-torch";

}  // namespace

std::filesystem::path torch_program() {
    std::error_code error;
    const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
    const auto folder = self.parent_path();
    for (const auto& candidate : {folder / kProgram, folder / ".." / "libexec" / "shoal" / kProgram})
        if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    throw Error(ErrorKind::system, "this sub-command needs the program " + std::string(kProgram) +
                                       ", which is not in " + folder.string() +
                                       ". Build Shoal with libtorch (cmake -DSHOAL_WITH_TORCH=ON)");
}

const std::vector<Command>& handed_over() {
    static const std::vector<Command> commands = {
        {.name = "train", .summary = "Start a run or join it, as one peer", .declare = {}},
        {.name = "probe",
         .summary = "Test the features of a checkpoint with a linear classifier",
         .declare = {}},
        {.name = "lab", .summary = "Reproduce a result: `shoal lab swarm` shows the main job", .declare = {}},
        {.name = "bench", .summary = "Measure all-reduce, rounds, codecs and the directory", .declare = {}},
    };
    return commands;
}

void hand_over(int argc, char** argv) {
    if (argc < 2) return;
    const std::string word = argv[1];
    const auto& all = handed_over();
    if (std::none_of(all.begin(), all.end(), [&](const Command& one) { return one.name == word; })) return;
    const auto program = torch_program();
    ::execv(program.c_str(), argv);
    throw Error(ErrorKind::system, "cannot run " + program.string() + ": " + std::strerror(errno));
}

}  // namespace shoal::app
