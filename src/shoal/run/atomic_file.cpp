#include "shoal/run/atomic_file.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <optional>
#include <unistd.h>
#include <vector>

#include "shoal/base/error.h"

namespace shoal::run {
namespace {

std::filesystem::path folder_of(const std::filesystem::path& file) {
    return file.has_parent_path() ? file.parent_path() : std::filesystem::path(".");
}

constexpr const char* kSuffix = ".tmp";

/// Of the process that writes this temporary file, "TARGET.PROCESS.tmp"; none of any other file.
std::optional<pid_t> writer_of(const std::filesystem::path& file) {
    if (file.extension() != kSuffix) return std::nullopt;
    const std::string number = file.stem().extension().string();
    pid_t process = 0;
    if (number.size() < 2) return std::nullopt;
    const char* end = number.data() + number.size();
    const auto result = std::from_chars(number.data() + 1, end, process);
    if (result.ec != std::errc() || result.ptr != end || process <= 0) return std::nullopt;
    return process;
}

}  // namespace

int AtomicFile::remove_abandoned(const std::filesystem::path& folder) {
    std::vector<std::filesystem::path> abandoned;
    std::error_code error;
    for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
         entry.increment(error)) {
        const std::optional<pid_t> writer = writer_of(entry->path());
        if (writer && ::kill(*writer, 0) != 0 && errno == ESRCH) abandoned.push_back(entry->path());
    }
    int removed = 0;
    for (const std::filesystem::path& file : abandoned)
        removed += std::filesystem::remove(file, error) ? 1 : 0;
    return removed;
}

AtomicFile::AtomicFile(std::filesystem::path target) : target_(std::move(target)) {
    std::error_code error;
    std::filesystem::create_directories(folder_of(target_), error);
    if (error)
        throw Error(ErrorKind::system, fmt::format("cannot make the folder {}: {}",
                                                   folder_of(target_).string(), error.message()));
    // Two processes never write the same target (run/folder.h locks it), so the process id makes it unique.
    temporary_ = target_;
    temporary_ += fmt::format(".{}{}", ::getpid(), kSuffix);
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (descriptor_ < 0) fail("make");
}

AtomicFile::~AtomicFile() {
    if (descriptor_ >= 0) {
        ::close(descriptor_);
        ::unlink(temporary_.c_str());
    }
}

void AtomicFile::write(ByteView bytes) {
    while (!bytes.empty()) {
        // A single write of more than 2 GiB is cut short by the kernel anyway.
        const ssize_t written =
            ::write(descriptor_, bytes.data(), std::min<std::size_t>(bytes.size(), std::size_t{1} << 30));
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) fail("write");
        bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
}

void AtomicFile::flush() {
    if (::fsync(descriptor_) != 0) fail("flush");
}

void AtomicFile::commit() {
    flush();
    if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail("rename");
    ::close(descriptor_);
    descriptor_ = -1;
    // The rename itself is on the disk only once the folder is.
    const int folder = ::open(folder_of(target_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder >= 0) {
        ::fsync(folder);
        ::close(folder);
    }
}

void AtomicFile::fail(const char* what) const {
    throw Error(ErrorKind::system,
                fmt::format("cannot {} the file {}: {}", what, target_.string(), std::strerror(errno)));
}

}  // namespace shoal::run
