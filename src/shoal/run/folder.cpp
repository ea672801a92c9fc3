#include "shoal/run/folder.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>
#include <utility>

#include "shoal/base/error.h"

namespace shoal::run {
namespace {

/// What the holder of the lock wrote into it: its process id, or "another process".
std::string holder_of(int descriptor) {
    std::array<char, 32> text{};
    const ssize_t size = ::pread(descriptor, text.data(), text.size() - 1, 0);
    std::string number(text.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
    while (!number.empty() && number.back() == '\n') number.pop_back();
    const bool is_number = !number.empty() && number.find_first_not_of("0123456789") == std::string::npos;
    return is_number ? "process " + number : "another process";
}

}  // namespace

PeerFolder::PeerFolder(std::filesystem::path folder) : folder_(std::move(folder)) {
    std::error_code error;
    std::filesystem::create_directories(folder_, error);
    if (error)
        throw Error(ErrorKind::system,
                    fmt::format("cannot make the peer's folder {}: {}", folder_.string(), error.message()));
    const std::filesystem::path lock = folder_ / "lock";
    const int descriptor = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (descriptor < 0)
        throw Error(ErrorKind::system,
                    fmt::format("cannot make {}: {}", lock.string(), std::strerror(errno)));
    if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
        const std::string holder = holder_of(descriptor);
        ::close(descriptor);
        throw Error(ErrorKind::bad_input,
                    fmt::format("the folder {} is in use by {}: give each peer its own with --folder",
                                folder_.string(), holder));
    }
    const std::string own = std::to_string(::getpid()) + "\n";
    if (::ftruncate(descriptor, 0) == 0 && ::pwrite(descriptor, own.data(), own.size(), 0) < 0) {
        // The number is a courtesy; the lock holds without it.
    }
    descriptor_ = descriptor;
}

PeerFolder::PeerFolder(PeerFolder&& other) noexcept
    : folder_(std::move(other.folder_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

PeerFolder::~PeerFolder() {
    if (descriptor_ >= 0) ::close(descriptor_);  // releases the lock
}

}  // namespace shoal::run
