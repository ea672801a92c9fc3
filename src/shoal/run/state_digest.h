// The digest of a state: parameters and optimizer state, as in progress records, checkpoints and metrics.
#pragma once

#include <span>

#include "shoal/base/hash.h"
#include "shoal/collective/compute.h"

namespace shoal::run {

/// Extends the digest of what came before by one more section.
class StateDigest {
  public:
    void add(std::span<const float> section);
    const Fingerprint& value() const { return whole_; }

  private:
    bool empty_ = true;
    Fingerprint whole_;
};

/// Of all sections, in their order. Any thread.
Fingerprint digest_of(const collective::State& state);

}  // namespace shoal::run
