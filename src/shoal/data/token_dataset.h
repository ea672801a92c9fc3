// Token ids in a plain file, for own models: a name ending in .u16 means unsigned 16-bit little-endian ids
// one after another, .u32 32-bit, and nothing else is in the file. In Python: numpy.array(ids,
// dtype='<u2').tofile('text.u16').
//
// A sample is a window of `sequence_length` consecutive ids; windows do not overlap, a rest at the end of the
// file is left out. Held out are groups of 16 neighbouring windows chosen by a fixed hash of their contents;
// at least one group, and never all.
#pragma once

#include <vector>

#include "shoal/data/dataset.h"
#include "shoal/data/mapped_file.h"

namespace shoal::data {

class TokenDataset final : public Dataset {
  public:
    /// Errors as make_dataset.
    TokenDataset(const DatasetSettings& settings, std::uint64_t peer_seed);

    DataShape shape() const override;
    std::uint64_t samples_an_epoch() const override { return training_.size(); }
    std::uint64_t held_out_size() const override { return held_out_.size(); }

  private:
    /// Throws Error(bad_input) for an id that is not below vocabulary_size.
    void append(Batch& batch, bool held_out, std::uint64_t index, std::uint64_t choice) const override;

    std::filesystem::path path_;
    MappedFile file_;
    std::size_t bytes_a_token_;
    std::int64_t sequence_length_;
    std::int64_t vocabulary_size_;
    std::vector<std::uint32_t> training_, held_out_;  ///< indices of windows
};

}  // namespace shoal::data
