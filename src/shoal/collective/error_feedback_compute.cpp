#include "shoal/collective/error_feedback_compute.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace shoal::collective {

ErrorFeedbackCompute::ErrorFeedbackCompute(Compute& inner, compress::VectorFormat format)
    : inner_(inner), format_(std::move(format)) {}

awaitable<std::span<const float>> ErrorFeedbackCompute::contribution() {
    const std::span<const float> gradient = co_await inner_.contribution();
    vector_.assign(gradient.begin(), gradient.end());
    if (!remainder_.empty())
        for (std::size_t i = 0; i < vector_.size(); ++i) vector_[i] += remainder_[i];
    is_sent_ = true;
    co_return vector_;
}

/// What is not finite is in no average, and must not stay for ever.
void ErrorFeedbackCompute::keep_remainder() {
    constexpr std::size_t kPart = 65536;
    const std::size_t elements = vector_.size();
    const std::vector<std::size_t> tensors = inner_.tensor_sizes();
    const compress::VectorCodec codec(format_, format_.pieces(tensors, elements), elements);
    remainder_.resize(elements);
    Bytes encoded;
    for (std::size_t begin = 0; begin < elements;) {
        std::size_t end = std::min(begin + kPart, elements);
        if (end < elements && codec.cut_before(end) > begin) end = codec.cut_before(end);
        const std::span<const float> meant(vector_.data() + begin, end - begin);
        const std::span<float> left(remainder_.data() + begin, end - begin);
        encoded.resize(codec.encoded_size(begin, meant.size()));
        codec.encode(begin, meant, encoded);
        codec.decode(begin, encoded, left);
        for (std::size_t i = 0; i < meant.size(); ++i) {
            const float difference = meant[i] - left[i];
            left[i] = std::isfinite(difference) ? difference : 0.0F;
        }
        begin = end;
    }
}

awaitable<bool> ErrorFeedbackCompute::apply(Step from, std::span<const float> average) {
    if (std::exchange(is_sent_, false)) keep_remainder();
    const bool applied = co_await inner_.apply(from, average);
    co_return applied;
}

void ErrorFeedbackCompute::discard() {
    is_sent_ = false;
    inner_.discard();
}

awaitable<void> ErrorFeedbackCompute::load(StatePointer state) {
    is_sent_ = false;
    return inner_.load(std::move(state));
}

}  // namespace shoal::collective
