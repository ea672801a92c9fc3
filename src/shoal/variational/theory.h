// Parameters that the theory gives, for those that a user leaves open. M devices, F L-Lipschitz and
// mu-strongly monotone, L~ of the devices (problem.h), q and delta of the compressors (compression.h).
//
// What one message adds to the error is bounded by C^2 times a squared distance:
//
//   C^2 = q_server * (L^2 + N),   N = ((q_device - 1) L'^2 + B L'^2) / s + P L~^2
//
// with s of the M devices answering, each from b of its r components: L' is L~, or of the components where
// b < r; B = (r - b) / (b (r - 1)) and P = (M - s) / (s (M - 1)) are the variances of samples without
// replacement. With b = r and s = M it is q_server (L^2 + (q_device - 1) L~^2 / M).
#pragma once

#include "shoal/variational/compression.h"
#include "shoal/variational/problem.h"

namespace shoal::variational {

/// What a method's parameters follow from.
struct Setting {
    Constants constants;
    std::size_t devices = 1;
    std::size_t senders = 1;      ///< that answer in an iteration
    std::size_t components = 1;   ///< r: the most that a device has
    std::size_t batch = 1;        ///< b: of those, in one iteration
    Quality device, server;       ///< of the messages
    std::size_t local_steps = 1;  ///< of local SGDA
};

/// C^2 as above. Throws Error(invalid_argument) where a compressor is biased.
double noise_bound(const Setting& setting);

/// 1 - tau: how likely the reference point moves in an iteration. A refresh costs as much as the messages (in
/// values) or as the batches (in components) of 1 / (1 - tau) iterations, whichever is more; at most 1/2,
/// because without tau > 0 the bound is 0.
double refresh_probability(const Setting& setting);

// Step sizes. Each throws Error(invalid_argument) and says what is missing where none follows: a compressor
// of the wrong kind, or mu = 0 for a method without a guarantee in merely monotone problems.

/// min{ sqrt(1 - tau) / (2 C), (1 - tau) / (2 mu), tau / mu }
double masha1_step(const Setting& setting, double refresh);
/// sqrt(1 - tau) / (4 delta_device delta_server L'), L' as above; conservative. Devices that do not answer
/// count as one more compressor, with delta M / s.
double masha2_step(const Setting& setting, double refresh);
/// sqrt(refresh) / (4 C)
double optimistic_step(const Setting& setting, double refresh);
/// 1 / (2 L)
double extragradient_step(const Setting& setting);
/// mu / C^2, and at most 1 / (2 L)
double quantised_step(const Setting& setting);
/// mu / (delta_device delta_server L~^2)
double error_feedback_step(const Setting& setting);
/// mu / (H L~^2), H local steps
double local_step(const Setting& setting);

/// The bound on E[ ||z^K - z*||^2 + ||w^K - z*||^2 ] over ||z^0 - z*||^2 for MASHA1 with w^0 = z^0:
/// 2 (1 - step mu / 2)^K.
double masha1_bound(double step, double monotonicity, std::uint64_t iterations);

}  // namespace shoal::variational
