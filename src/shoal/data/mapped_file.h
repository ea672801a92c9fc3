// A file as one read-only piece of memory, read by the operating system as it is touched.
#pragma once

#include <filesystem>
#include <string_view>

#include "shoal/base/bytes.h"

namespace shoal::data {

/// Movable, not copyable. Views die with it. The file must not be truncated while it is mapped (replace it by
/// rename instead).
class MappedFile {
  public:
    /// @param purpose  what the file is, for messages: "text file". @param remedy  what the user can do if it
    /// is missing. Throws Error(bad_input) if it is missing, no regular file, unreadable or empty.
    MappedFile(const std::filesystem::path& file, std::string_view purpose, std::string_view remedy);
    ~MappedFile();
    MappedFile(MappedFile&& other) noexcept;
    MappedFile& operator=(MappedFile&& other) noexcept;

    ByteView bytes() const { return {data_, size_}; }
    std::string_view text() const { return as_text(bytes()); }

  private:
    const std::uint8_t* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace shoal::data
