#include "shoal/data/mapped_file.h"

#include <cerrno>
#include <fcntl.h>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "shoal/base/error.h"

namespace shoal::data {

MappedFile::MappedFile(const std::filesystem::path& file, std::string_view purpose, std::string_view remedy) {
    const auto fail = [&](const std::string& why) {
        throw Error(ErrorKind::bad_input,
                    std::string(purpose) + " " + file.string() + " " + why + "; " + std::string(remedy));
    };
    const auto system_reason = [] { return std::error_code(errno, std::generic_category()).message(); };
    const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        fail(errno == ENOENT ? "does not exist" : "cannot be opened (" + system_reason() + ")");
    }
    struct stat status{};
    const bool known = ::fstat(descriptor, &status) == 0;
    const bool regular = known && S_ISREG(status.st_mode);
    if (!regular || status.st_size == 0) {
        ::close(descriptor);
        fail(regular ? "is empty" : "is not a file");
    }
    size_ = static_cast<std::size_t>(status.st_size);
    void* const memory = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, descriptor, 0);
    const std::string reason = memory == MAP_FAILED ? system_reason() : std::string();
    ::close(descriptor);
    if (memory == MAP_FAILED) fail("cannot be read (" + reason + ")");
    data_ = static_cast<const std::uint8_t*>(memory);
}

MappedFile::~MappedFile() {
    if (data_ != nullptr) ::munmap(const_cast<std::uint8_t*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
}

}  // namespace shoal::data
