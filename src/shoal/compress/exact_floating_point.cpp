#include "shoal/compress/exact_floating_point.h"

namespace shoal::compress {

// FE_DFL_ENV is defined to be the mode at program start as the standard describes it, and glibc clears the
// flush-to-zero and denormals-are-zero bits with it.
ExactFloatingPoint::ExactFloatingPoint() {
    std::fegetenv(&before_);
    std::fesetenv(FE_DFL_ENV);
}

ExactFloatingPoint::~ExactFloatingPoint() {
    std::fesetenv(&before_);
}

}  // namespace shoal::compress
