#include "shoal/compress/error_feedback.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "shoal/base/error.h"
#include "shoal/compress/exact_floating_point.h"

namespace shoal::compress {

ErrorFeedback::ErrorFeedback(std::shared_ptr<const Codec> codec, std::size_t count)
    : codec_(std::move(codec)), residual_(count), sum_(count), decoded_(count) {
    if (!codec_->guarantee(count).contraction)
        throw Error(ErrorKind::invalid_argument,
                    "error feedback needs a contractive codec, such as top_k, sign, power_sgd or one of "
                    "8 bits; around '" +
                        std::string(codec_->name()) + "' what is left out would grow");
}

ErrorFeedback::ErrorFeedback(std::shared_ptr<PowerSgd> sender)
    : ErrorFeedback(sender->codec(), sender->count()) {
    sender_ = std::move(sender);
}

void ErrorFeedback::encode(std::span<const float> values, MutableByteView encoded, std::uint64_t seed) {
    if (values.size() != residual_.size())
        throw Error(ErrorKind::invalid_argument, "error feedback over " + std::to_string(residual_.size()) +
                                                     " values was given " + std::to_string(values.size()));
    const ExactFloatingPoint exact;
    for (std::size_t i = 0; i < sum_.size(); ++i) sum_[i] = values[i] + residual_[i];
    if (sender_)
        sender_->encode(sum_, encoded, seed);
    else
        codec_->encode(sum_, encoded, seed);
    codec_->decode(encoded, decoded_);
    for (std::size_t i = 0; i < sum_.size(); ++i) {
        const float left = sum_[i] - decoded_[i];
        residual_[i] = std::isfinite(left) ? left : std::isfinite(sum_[i]) ? sum_[i] : 0.0F;
    }
}

Bytes ErrorFeedback::encode(std::span<const float> values, std::uint64_t seed) {
    Bytes encoded(codec_->encoded_size(residual_.size()));
    encode(values, encoded, seed);
    return encoded;
}

void ErrorFeedback::not_delivered(ByteView encoded) {
    codec_->decode(encoded, decoded_);
    const ExactFloatingPoint exact;
    for (std::size_t i = 0; i < decoded_.size(); ++i) {
        const float back = residual_[i] + decoded_[i];
        // What was not finite left nothing to take back.
        if (std::isfinite(back)) residual_[i] = back;
    }
}

void ErrorFeedback::reset() {
    std::fill(residual_.begin(), residual_.end(), 0.0F);
}

void ErrorFeedback::restore(std::span<const float> residual) {
    const bool finite =
        std::all_of(residual.begin(), residual.end(), [](float x) { return std::isfinite(x); });
    if (residual.size() != residual_.size() || !finite)
        throw Error(ErrorKind::invalid_argument, "a saved residual of " + std::to_string(residual.size()) +
                                                     " numbers, or with some that are not finite, where " +
                                                     std::to_string(residual_.size()) + " are kept");
    std::copy(residual.begin(), residual.end(), residual_.begin());
}

}  // namespace shoal::compress
