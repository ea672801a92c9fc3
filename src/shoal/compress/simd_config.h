// Settings for Highway, to be included before any of its headers in every file that holds SIMD kernels.
//
// Kernels are compiled once for each instruction set and the best one is chosen at run time. All of them must
// give the same bits, which holds as long as they use only operations that IEEE 754 defines exactly (+ - * /
// sqrt, conversions, integer operations), reduce in an order that does not depend on the vector width, and
// are never contracted to fused multiply-add (the build passes -ffp-contract=off). The tests run every path
// that the machine supports and compare.
#pragma once

// Vectors of a length that is unknown when compiling cannot be kept in arrays; such machines use their
// fixed-size path.
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif
