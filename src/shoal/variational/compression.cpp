#include "shoal/variational/compression.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "shoal/base/error.h"

namespace shoal::variational {
namespace {

constexpr std::string_view kPermutation = "perm_k";

/// 'perm_k' or 'perm_k+CODEC' is the same for all senders; the codec wants to know which part is whose.
std::string name_for(const std::string& name, std::size_t sender, std::size_t senders) {
    if (!name.starts_with(kPermutation)) return name;
    const std::string rest = name.substr(kPermutation.size());
    if (!rest.empty() && rest.front() != '+')
        throw Error(ErrorKind::invalid_argument,
                    name + ": write perm_k or perm_k+CODEC; which part is whose follows from the devices");
    return std::string(kPermutation) + ":" + std::to_string(sender) + "/" + std::to_string(senders) + rest;
}

}  // namespace

Compression::Compression(const std::string& name, std::size_t sender, std::size_t senders,
                         std::vector<Share> shares)
    : shares_(std::move(shares)), shares_seed_(name.starts_with(kPermutation)) {
    if (name != kExact) codec_ = compress::make_codec(name_for(name, sender, senders));
}

std::size_t Compression::encoded_size(std::size_t share) const {
    const std::size_t count = shares_[share].size();
    return codec_ ? codec_->encoded_size(count) : count * sizeof(double);
}

std::size_t Compression::sent_values(std::size_t share) const {
    const std::size_t count = shares_[share].size();
    return codec_ ? codec_->sent_values(count) : count;
}

Bytes Compression::encode(std::size_t share, std::span<const double> values, std::uint64_t seed) const {
    if (!is_finite(values))
        throw Error(
            ErrorKind::invalid_argument,
            "the method has diverged (a smaller step size may help): a vector to be sent is not finite");
    Bytes encoded(encoded_size(share));
    if (codec_) {
        const std::vector<float> floats(values.begin(), values.end());
        codec_->encode(floats, encoded, seed);
    } else if (!values.empty()) {
        std::memcpy(encoded.data(), values.data(), encoded.size());
    }
    return encoded;
}

void Compression::decode(std::size_t share, ByteView encoded, std::span<double> values) const {
    if (codec_) {
        std::vector<float> floats(values.size());
        codec_->decode(encoded, floats);
        std::copy(floats.begin(), floats.end(), values.begin());
    } else {
        if (encoded.size() != encoded_size(share))
            throw Error(ErrorKind::protocol_violation, std::to_string(values.size()) + " values take " +
                                                           std::to_string(encoded_size(share)) +
                                                           " bytes, but " + std::to_string(encoded.size()) +
                                                           " came");
        if (!values.empty()) std::memcpy(values.data(), encoded.data(), encoded.size());
    }
    if (!is_finite(values)) throw Error(ErrorKind::protocol_violation, "a number is not finite");
}

Quality Compression::quality() const {
    Quality whole;
    whole.unbiased = whole.contractive = true;
    whole.variance_factor = whole.contraction = 1;
    std::size_t sent = 0, all = 0;
    for (std::size_t share = 0; share < shares_.size(); ++share) {
        if (shares_[share].size() == 0) continue;
        sent += sent_values(share);
        all += shares_[share].size();
        if (!codec_) continue;
        const compress::Guarantee promise = codec_->guarantee(shares_[share].size());
        whole.unbiased = whole.unbiased && promise.variance_factor.has_value();
        whole.contractive = whole.contractive && promise.contraction.has_value();
        whole.variance_factor = std::max(whole.variance_factor, promise.variance_factor.value_or(1));
        whole.contraction = std::max(whole.contraction, promise.contraction.value_or(1));
    }
    if (all > 0) whole.density = static_cast<double>(sent) / static_cast<double>(all);
    return whole;
}

}  // namespace shoal::variational
