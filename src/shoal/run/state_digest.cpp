#include "shoal/run/state_digest.h"

namespace shoal::run {

void StateDigest::add(std::span<const float> section) {
    if (empty_) {
        whole_ = fingerprint(as_bytes(section));
        empty_ = false;
        return;
    }
    const Fingerprint next = fingerprint(as_bytes(section), whole_.low);
    whole_ = {next.low ^ whole_.high, next.high};
}

Fingerprint digest_of(const collective::State& state) {
    StateDigest digest;
    for (const auto& section : state.sections) digest.add(section.values);
    return digest.value();
}

}  // namespace shoal::run
