// The IDX format: a magic number, big-endian sizes, then bytes.
#pragma once

#include <filesystem>
#include <vector>

#include "shoal/base/bytes.h"

namespace shoal::data {

struct IdxArray {
    std::vector<std::size_t> sizes;  ///< of each dimension
    std::vector<std::uint8_t> values;
};

/// Reads folder/name or folder/name.gz: unsigned bytes in `dimensions` dimensions. Throws Error(bad_input)
/// naming the file if it is missing, damaged, shorter or longer than its header says, above 4 GiB, or of
/// another kind.
IdxArray read_idx(const std::filesystem::path& folder, const std::string& name, std::size_t dimensions);

}  // namespace shoal::data
