#include "shoal/data/token_dataset.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "shoal/base/error.h"
#include "shoal/base/hash.h"

namespace shoal::data {
namespace {

constexpr std::size_t kGroup = 16;              // neighbouring windows that stay on one side of the split
constexpr std::uint64_t kSplitSeed = 0x70ce45;  // fixed for ever: it decides what is held out

std::size_t token_width(const std::filesystem::path& file) {
    if (file.extension() == ".u16") return 2;
    if (file.extension() == ".u32") return 4;
    throw Error(ErrorKind::bad_input,
                "token file " + file.string() +
                    " must end in .u16 or .u32 (little-endian ids of 16 or 32 bits, nothing else)");
}

}  // namespace

TokenDataset::TokenDataset(const DatasetSettings& settings, std::uint64_t peer_seed)
    : Dataset(peer_seed),
      path_(settings.path),
      file_(settings.path, "token file", "check `path` of the data set"),
      bytes_a_token_(token_width(settings.path)),
      sequence_length_(settings.sequence_length),
      vocabulary_size_(settings.vocabulary_size) {
    const std::size_t bytes = file_.bytes().size();
    if (bytes % bytes_a_token_ != 0) {
        throw Error(ErrorKind::bad_input, "token file " + path_.string() + " is damaged: its " +
                                              std::to_string(bytes) +
                                              " bytes are no whole number of ids; write it again");
    }
    const std::size_t window = static_cast<std::size_t>(sequence_length_) * bytes_a_token_;
    const std::size_t windows = bytes / window;
    const std::size_t groups = (windows + kGroup - 1) / kGroup;
    if (groups < 2 || windows > std::numeric_limits<std::uint32_t>::max()) {
        throw Error(ErrorKind::bad_input, "token file " + path_.string() + " holds " +
                                              std::to_string(bytes / bytes_a_token_) + " ids, " +
                                              (groups < 2 ? "too few: at least " + std::to_string(kGroup + 1)
                                                          : std::string("too many: at most 2^32")) +
                                              " samples of sequence_length " +
                                              std::to_string(sequence_length_) + " are needed");
    }
    std::vector<std::uint64_t> hashes(groups);
    for (std::size_t group = 0; group < groups; ++group) {
        const std::size_t begin = group * kGroup * window;
        hashes[group] =
            fingerprint(file_.bytes().subspan(begin, std::min(kGroup, windows - group * kGroup) * window),
                        kSplitSeed)
                .low;
    }
    const auto [lowest, highest] = std::ranges::minmax_element(hashes);
    const auto bound = std::clamp(static_cast<std::uint64_t>(std::ldexp(settings.held_out, 64)), *lowest + 1,
                                  std::max(*highest, *lowest + 1));
    for (std::size_t i = 0; i < windows; ++i) {
        (hashes[i / kGroup] < bound ? held_out_ : training_).push_back(static_cast<std::uint32_t>(i));
    }
    if (training_.empty()) {
        throw Error(ErrorKind::bad_input,
                    "token file " + path_.string() +
                        " repeats the same ids over and over; nothing is left to train on");
    }
}

DataShape TokenDataset::shape() const {
    return {
        .kind = BatchKind::tokens, .sequence_length = sequence_length_, .vocabulary_size = vocabulary_size_};
}

void TokenDataset::append(Batch& batch, bool held_out, std::uint64_t index, std::uint64_t /*choice*/) const {
    const std::uint64_t window = held_out ? held_out_[index] : training_[index];
    const auto length = static_cast<std::size_t>(sequence_length_);
    const std::uint8_t* at = file_.bytes().data() + window * length * bytes_a_token_;
    for (std::size_t i = 0; i < length; ++i, at += bytes_a_token_) {
        std::uint32_t id = 0;
        std::memcpy(&id, at, bytes_a_token_);
        if (vocabulary_size_ > 0 && id >= static_cast<std::uint64_t>(vocabulary_size_)) {
            throw Error(ErrorKind::bad_input,
                        "token file " + path_.string() + " has the id " + std::to_string(id) + " at place " +
                            std::to_string(window * length + i) + ", but vocabulary_size is " +
                            std::to_string(vocabulary_size_));
        }
        batch.tokens.push_back(id);
    }
}

}  // namespace shoal::data
