// What the tests of methods share: problems that are solved in a moment, and runs in this process.
#pragma once

#include <asio/io_context.hpp>
#include <gtest/gtest.h>

#include "shoal/base/run_until.h"
#include "shoal/variational/bilinear.h"
#include "shoal/variational/local_exchange.h"
#include "shoal/variational/quadratic_game.h"
#include "shoal/variational/run_method.h"

namespace shoal::variational {

/// Different devices, a field that turns, strongly monotone.
inline Bilinear small_bilinear(bool homogeneous = false, double regularisation = 0.1) {
    BilinearSettings settings;
    settings.devices = 4;
    settings.dimension = 12;
    settings.regularisation = regularisation;
    settings.homogeneous = homogeneous;
    return Bilinear(settings);
}

inline QuadraticGame small_game() {
    QuadraticGameSettings settings;
    settings.devices = 4;
    settings.components = 6;
    settings.dimension = 8;
    settings.monotonicity = 0.1;
    settings.highest = 0.3;
    return QuadraticGame(settings);
}

inline MethodSettings settings_of(const std::string& method, const std::string& device_codec = kExact,
                                  std::optional<double> step = std::nullopt) {
    MethodSettings settings;
    settings.method = method;
    settings.device_codec = device_codec;
    settings.step_size = step;
    return settings;
}

/// Runs until so close to the known solution, or so long.
inline Trajectory run_to(const Problem& problem, const MethodSettings& settings, double error,
                         std::uint64_t iterations) {
    StopRule rule;
    rule.error = error;
    rule.iterations = iterations;
    return run_in_process(problem, settings, rule, distance_to(*problem.solution(), problem.start()));
}

/// A problem that begins elsewhere.
class Moved final : public Problem {
  public:
    Moved(const Problem& problem, Vector start) : problem_(problem), start_(std::move(start)) {}
    std::string name() const override { return problem_.name(); }
    std::size_t dimension() const override { return problem_.dimension(); }
    std::size_t devices() const override { return problem_.devices(); }
    void evaluate(std::size_t device, std::span<const double> z, std::span<double> value) const override {
        problem_.evaluate(device, z, value);
    }
    std::optional<Constants> constants() const override { return problem_.constants(); }
    Vector start() const override { return start_; }

  private:
    const Problem& problem_;
    Vector start_;
};

inline void run_now(awaitable<void> operation) {
    asio::io_context context(1);
    run_until_ended(context, std::move(operation));
}

}  // namespace shoal::variational
