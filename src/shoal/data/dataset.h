// Data sets: a stream of training samples in each peer's own order, and held-out samples that are the same
// for everybody.
//
// A training sample is a pure function of (data set, seed, peer, index): nothing is buffered, so the place in
// the stream is one number, a peer resumes exactly where it stopped, and anybody who has the same file can
// rebuild what a peer trained on. An epoch visits every sample once, in an order that a keyed permutation
// gives (permutation.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "shoal/base/identity.h"
#include "shoal/data/batch.h"
#include "shoal/data/multi_crop.h"

namespace shoal::data {

struct DatasetSettings {
    /// "text": a plain text file and a SentencePiece vocabulary, gives masked text (text_dataset.h).
    /// "tokens": a file of token ids (token_dataset.h).
    /// "images": a folder with the four IDX files of the MNIST family, plain or .gz (image_dataset.h).
    /// "fashion-mnist": the same, where Debian's package dataset-fashion-mnist puts it unless `path` says
    /// otherwise.
    /// "image-folder": a folder of JPEG, PNG, WebP and other files (image_folder.h).
    std::string kind = "text";
    std::filesystem::path path;
    /// SentencePiece model (*.model) of a "text" data set; train_vocabulary() in vocabulary.h makes one.
    std::filesystem::path vocabulary;
    /// Tokens a sample ("text", "tokens").
    std::int64_t sequence_length = 128;
    /// "tokens" only: ids must be below it; 0 does not check.
    std::int64_t vocabulary_size = 0;
    /// Share of the text, tokens or files that is never trained on, in (0, 0.5]. The split depends on the
    /// contents alone (of an image folder: on the files' names). IDX folders bring their own.
    double held_out = 0.02;
    /// Share of the tokens of a sample that the masked language model has to guess, in (0, 0.5].
    double masked = 0.15;
    /// Pixels a side, 8 to 4096, that the images of an "image-folder" are brought to.
    std::int64_t image_size = 224;
    /// Of data sets of images: batches hold views instead of images (multi_crop.h).
    std::optional<MultiCropSettings> crops;
    /// Seed of the run; mixed with the PeerId for the peer's own order.
    std::uint64_t seed = 0;
};

/// Not thread-safe, but may be used from any one thread at a time; files are memory-mapped or held in memory.
class Dataset {
  public:
    virtual ~Dataset() = default;

    virtual DataShape shape() const = 0;
    /// Training samples in one epoch.
    virtual std::uint64_t samples_an_epoch() const = 0;
    /// Held-out samples; at least 1.
    virtual std::uint64_t held_out_size() const = 0;

    /// The next `samples` (> 0) training samples; never ends, epochs follow one another.
    Batch next(std::int64_t samples);
    /// Training samples handed out so far: the whole state of the stream.
    std::uint64_t position() const { return position_; }
    /// Goes on as if `position` samples had been handed out: resumes a peer after a restart.
    void seek(std::uint64_t position) { position_ = position; }

    /// Held-out samples [first, first + samples), in an order (and with masks) that is the same on every peer
    /// that has the same file. Indices beyond held_out_size() begin again at 0.
    Batch held_out(std::uint64_t first, std::int64_t samples) const;

  protected:
    explicit Dataset(std::uint64_t peer_seed) : seed_(peer_seed) {}

    /// Appends one sample to a batch made by begin(). `index` is below samples_an_epoch(), or
    /// held_out_size(); `choice` seeds all random choices within the sample (masks).
    virtual void append(Batch& batch, bool held_out, std::uint64_t index, std::uint64_t choice) const = 0;

  private:
    Batch begin(std::int64_t samples) const;

    std::uint64_t seed_;
    std::uint64_t position_ = 0;
};

/// Opens a data set for one peer. Throws Error(bad_input) that names the file and what to do if one is
/// missing, empty or damaged, and Error(invalid_argument) for settings that make no sense.
std::unique_ptr<Dataset> make_dataset(const DatasetSettings& settings, const PeerId& peer);

/// The seed of a peer's order: the first 8 bytes (little-endian) of SHA-256("shoal data order" || PeerId ||
/// seed, 8 bytes little-endian).
std::uint64_t order_seed(const PeerId& peer, std::uint64_t run_seed);

}  // namespace shoal::data
