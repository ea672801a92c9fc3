#include "shoal/collective/average_history.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "shoal/compress/codec.h"

namespace shoal::collective {

namespace {

const compress::Codec& codec_of(bool half) {
    static const auto half_codec = compress::make_codec("fp16"), whole_codec = compress::make_codec("fp32");
    return half ? *half_codec : *whole_codec;
}

/// As fp16 if that gives back the same bits, which it does wherever the run's codec is fp16.
bool encode_exactly(std::span<const float> values, Bytes& encoded) {
    constexpr std::size_t kBlock = 4096;
    std::array<float, kBlock> copy{};
    const compress::Codec& codec = codec_of(true);
    encoded.resize(codec.encoded_size(values.size()));
    for (std::size_t begin = 0; begin < values.size(); begin += kBlock) {
        const auto block = values.subspan(begin, std::min(kBlock, values.size() - begin));
        const auto bytes =
            MutableByteView(encoded).subspan(codec.encoded_size(begin), codec.encoded_size(block.size()));
        codec.encode(block, bytes);
        const auto back = std::span(copy).first(block.size());
        codec.decode(bytes, back);
        if (std::memcmp(back.data(), block.data(), block.size_bytes()) != 0) return false;
    }
    return true;
}

}  // namespace

std::size_t encoded_average_size(std::size_t elements, bool half) {
    return codec_of(half).encoded_size(elements);
}

void decode_average(ByteView encoded, bool half, std::span<float> values) {
    codec_of(half).decode(encoded, values);
}

void AverageHistory::add(Step from, std::span<const float> average, bool skipped) {
    if (!kept_.empty() && next(kept_.back()->from) != from) clear();
    auto kept = std::make_shared<KeptAverage>();
    kept->from = from;
    kept->skipped = skipped;
    if (!skipped) {
        // Room is made before memory is taken.
        const auto fits = [&](bool half) {
            const std::size_t size = encoded_average_size(average.size(), half);
            if (size > most_bytes_) return false;
            drop_oldest(kKeptAverages - 1, most_bytes_ - size);
            return true;
        };
        if (!fits(true)) return clear();
        kept->half = encode_exactly(average, kept->encoded);
        if (!kept->half) {
            Bytes().swap(kept->encoded);
            if (!fits(false)) return clear();
            kept->encoded = codec_of(false).encode(average);
        }
    }
    bytes_ += kept->encoded.size();
    kept_.push_back(std::move(kept));
    drop_oldest(kKeptAverages, most_bytes_);
}

void AverageHistory::drop_oldest(std::size_t count, std::size_t bytes) {
    while (kept_.size() > count || bytes_ > bytes) {
        bytes_ -= kept_.front()->encoded.size();
        kept_.pop_front();
    }
}

KeptAveragePointer AverageHistory::find(Step from) const {
    if (kept_.empty() || from < kept_.front()->from || kept_.back()->from < from) return nullptr;
    return kept_[static_cast<std::size_t>(value(from) - value(kept_.front()->from))];
}

void AverageHistory::clear() {
    kept_.clear();
    bytes_ = 0;
}

}  // namespace shoal::collective
