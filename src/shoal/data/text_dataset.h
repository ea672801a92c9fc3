// Masked text with sentence order, as ALBERT is pre-trained: MLM and SOP (dedloc.md 5.2; Lan et al. 2019,
// 'ALBERT').
//
// The file is plain text: a paragraph a line, a blank line between documents. It is memory-mapped and
// tokenised on the fly (about 0.2 ms for a sample of 128 tokens), so it may be far larger than memory;
// opening it reads it once to find the documents.
//
//   document   text between blank lines; one above 64 KiB is cut at line ends, so that a book can be split as
//   well held out   a document whose contents hash below the share; at least one, and never all window
//   `sequence_length` tokens' worth of bytes; a sample starts at the first sentence of its window, and packs
//   whole sentences of the
//              same document until it is full (the last one is cut)
//   sample     [CLS] A [SEP] B [SEP] padding: split into A and B at a random sentence (at a random token if
//   there is but one sentence), swapped with
//              probability 1/2; `masked` of the ordinary tokens, at least one, are targets: 80 % become
//              [MASK], 10 % a random token, 10 % stay
#pragma once

#include "shoal/data/dataset.h"
#include "shoal/data/mapped_file.h"
#include "shoal/data/vocabulary.h"

namespace shoal::data {

class TextDataset final : public Dataset {
  public:
    /// Errors as make_dataset.
    TextDataset(const DatasetSettings& settings, std::uint64_t peer_seed);

    DataShape shape() const override;
    std::uint64_t samples_an_epoch() const override { return training_.windows(window_bytes_); }
    std::uint64_t held_out_size() const override { return held_out_.windows(window_bytes_); }
    const Vocabulary& vocabulary() const { return vocabulary_; }

  private:
    /// Documents of one side of the split, seen as one long text.
    struct Documents {
        struct Span {
            std::size_t begin, end;  ///< in the file
            std::uint64_t offset;    ///< bytes of the documents before it
        };
        std::vector<Span> spans;
        std::uint64_t bytes = 0;

        void add(std::size_t begin, std::size_t end);
        std::uint64_t windows(std::uint64_t window_bytes) const;
        const Span& at(std::uint64_t offset) const;
    };
    /// Tokens of consecutive sentences, and where each sentence ends.
    struct Passage {
        std::vector<std::int64_t> tokens;
        std::vector<std::size_t> ends;
    };

    void append(Batch& batch, bool held_out, std::uint64_t index, std::uint64_t choice) const override;
    void split_documents(double share);
    std::uint64_t measure_window() const;
    Passage read_passage(const Documents& documents, std::uint64_t window) const;

    std::filesystem::path path_;
    MappedFile file_;
    Vocabulary vocabulary_;
    std::int64_t sequence_length_;
    double masked_;
    Documents training_, held_out_;
    std::uint64_t window_bytes_ = 0;
};

}  // namespace shoal::data
