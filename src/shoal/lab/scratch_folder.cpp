#include "shoal/lab/scratch_folder.h"

#include <cerrno>
#include <charconv>
#include <csignal>
#include <fmt/format.h>
#include <unistd.h>

#include "shoal/base/random.h"

namespace shoal::lab {
namespace {

/// True if the rest of a folder's name, "PID-RANDOM", tells of a process that is gone.
bool owner_is_gone(std::string_view rest) {
    pid_t owner = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), owner);
    if (error != std::errc() || end == rest.data() + rest.size() || *end != '-' || owner <= 0) return false;
    return kill(owner, 0) != 0 && errno == ESRCH;
}

void remove_left_overs(const std::filesystem::path& among, const std::string& prefix) {
    std::error_code ignored;
    for (std::filesystem::directory_iterator entry(among, ignored), end; entry != end;
         entry.increment(ignored)) {
        const std::string name = entry->path().filename().string();
        if (name.starts_with(prefix) && owner_is_gone(std::string_view(name).substr(prefix.size())))
            std::filesystem::remove_all(entry->path(), ignored);
        if (ignored) ignored.clear();
    }
}

}  // namespace

ScratchFolder::ScratchFolder(const std::string& purpose) {
    const std::filesystem::path among = std::filesystem::temp_directory_path();
    const std::string prefix = "shoal-" + purpose + "-";
    remove_left_overs(among, prefix);
    path_ = among / fmt::format("{}{}-{:08x}", prefix, getpid(), Random::from_entropy().below(1u << 31));
    std::filesystem::create_directories(path_);
}

ScratchFolder::~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

}  // namespace shoal::lab
