// The floating-point mode that makes results the same on every machine.
#pragma once

#include <cfenv>

namespace shoal::compress {

/// While it lives, the calling thread rounds to nearest even and neither flushes small results to zero nor
/// reads them as zero, whatever a library (one built with -ffast-math, or a user of
/// at::globalContext().setFlushDenormal) has set before. The old mode returns at the end. Costs some hundred
/// cycles: make one per call of a kernel, not per block.
class ExactFloatingPoint {
  public:
    ExactFloatingPoint();
    ~ExactFloatingPoint();
    ExactFloatingPoint(const ExactFloatingPoint&) = delete;
    ExactFloatingPoint& operator=(const ExactFloatingPoint&) = delete;

  private:
    std::fenv_t before_;
};

}  // namespace shoal::compress
