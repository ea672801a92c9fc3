// What all methods have in common: the problem, the exchange, a point, the average of the points that the
// operator was evaluated at, and what has been sent.
//
// A method is written once. Each process runs it for the devices that its exchange gives it; the points are
// functions of what was broadcast, so they are the same, bit by bit, in every process and in one that holds
// all devices.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "shoal/base/async.h"
#include "shoal/variational/averaging.h"
#include "shoal/variational/problem.h"
#include "shoal/variational/theory.h"

namespace shoal::variational {

struct MethodSettings {
    std::string method = "masha1";  ///< one of method_names()
    /// Of messages and of answers; methods that send all in full do not look at them.
    std::string device_codec = kExact, server_codec = kExact;
    // What is left open follows from theory (theory.h).
    std::optional<double> step_size;  ///< gamma (eta of optimistic MASHA)
    std::optional<double> refresh;    ///< 1 - tau: how likely the reference point moves, in (0, 1]
    std::size_t batch = 0;            ///< components that a device evaluates in an iteration; 0: all
    std::size_t participants = 0;     ///< devices that answer in an iteration, drawn anew; 0: all
    std::size_t local_steps = 10;     ///< of local SGDA between two averages
    double optimism = 1;              ///< alpha of optimistic MASHA
    std::uint64_t seed = 1;           ///< of everything random; the same for all devices
};

/// Not thread-safe.
class Method {
  public:
    virtual ~Method() = default;
    Method(const Method&) = delete;
    Method& operator=(const Method&) = delete;

    /// Before the first iteration, once: what the devices must know of each other.
    awaitable<void> start();
    /// One iteration. Throws what Exchange::exchange() throws; Error(invalid_argument) if the point is no
    /// longer finite.
    awaitable<void> iterate();

    /// z^k
    const Vector& point() const { return point_; }
    /// The average of the points z^{k+1/2}, which the guarantees for merely monotone problems are about.
    const Vector& average_point() const { return average_point_; }
    std::uint64_t iterations() const { return iterations_; }
    const Traffic& traffic() const { return traffic_; }
    /// Evaluations of F_m by a device, in the mean of those of this process; a batch counts as its part.
    double evaluations() const { return evaluations_; }
    double step_size() const { return step_size_; }

  protected:
    /// Throws Error(invalid_argument) if the exchange has other devices than the problem, or a setting is out
    /// of its range.
    Method(const Problem& problem, Exchange& exchange, const MethodSettings& settings);

    virtual awaitable<void> prepare();
    virtual awaitable<void> advance() = 0;

    const MethodSettings& settings() const { return settings_; }
    Exchange& exchange() { return exchange_; }
    /// For the averages that the method makes.
    Traffic& counter() { return traffic_; }
    /// z^k, to be moved
    Vector& z() { return point_; }

    /// The step size that the settings give, or else what theory says of these messages. To be called once.
    /// Throws Error(invalid_argument) if there is none.
    void choose_step(const std::function<double(const Setting&)>& by_theory, const Averaging& messages);
    /// Likewise the probability of a refresh.
    double choose_refresh(const Averaging& messages) const;

    /// All devices.
    const std::vector<std::size_t>& everybody() const { return everybody_; }
    /// Those that answer in this iteration.
    std::vector<std::size_t> draw_participants() const;
    /// The components that the device evaluates in this iteration; empty: all.
    /// @param occasion  where it draws several in one iteration
    std::vector<std::size_t> draw_batch(std::size_t device, std::uint64_t occasion = 0) const;
    /// True with this probability, in all processes alike.
    bool draw_refresh(double probability) const;

    /// One vector for each local device.
    std::vector<Vector> device_vectors() const;
    /// value = F_device(z), or of a batch of it (empty: all).
    void evaluate(std::size_t device, std::span<const std::size_t> batch, std::span<const double> z,
                  Vector& value);
    /// values[i] = F_m(z) for all local devices.
    void evaluate_all(std::span<const double> z, std::vector<Vector>& values);
    /// The same of batches, and only for the local devices among the senders.
    void evaluate_drawn(const std::vector<std::size_t>& senders, std::span<const double> z,
                        std::vector<Vector>& values);
    /// z = prox(z) with the step size.
    void prox(std::span<double> z) const { problem_.prox(step_size_, z); }
    /// For methods that have no proximal step.
    void refuse_prox() const;
    /// Takes a point into the average.
    void note_half_point(std::span<const double> z);

  private:
    Setting setting(const Averaging& messages) const;

    const Problem& problem_;
    Exchange& exchange_;
    const MethodSettings settings_;
    std::vector<std::size_t> everybody_;
    Vector point_, average_point_;
    Traffic traffic_;
    double step_size_ = 0, evaluations_ = 0;
    std::uint64_t iterations_ = 0, noted_ = 0;
};

/// The problem and the exchange outlive the method. Throws Error(invalid_argument) for a name that is not
/// known, a codec that is not, a setting out of its range, or where no step size follows from theory and none
/// is given.
std::unique_ptr<Method> make_method(const Problem& problem, Exchange& exchange,
                                    const MethodSettings& settings);

/// "extragradient", "qgd", "error_feedback", "ceg", "local_sgda", "masha1", "masha2", "optimistic_masha"
std::span<const std::string_view> method_names();

}  // namespace shoal::variational
