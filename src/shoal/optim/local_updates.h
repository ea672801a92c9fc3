// Local updates: a peer takes optimizer steps of its own between two averages, and what travels is how far it
// has come. For lines so slow that an average of each batch costs too much.
//
// Between two global steps each peer moves its own copy of the parameters with an inner optimizer. Its
// contribution is the way back, global minus local parameters, weighted by its samples; the average of those
// is the gradient of one step of an outer optimizer, SGD with Nesterov's momentum, and everybody goes on from
// there. The inner optimizer's moments stay with the peer. So parameters and outer momentum are the same on
// all peers, bit by bit, as without local updates.
//
// Source: Douillard et al., "DiLoCo: Distributed Low-Communication Training of Language Models", which has a
// fixed number of local steps; here a fast peer takes more of them than a slow one, until the swarm has its
// batch.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "shoal/optim/optimizer.h"

namespace shoal::optim {

struct LocalUpdateSettings {
    std::int64_t batch_size = 0;  ///< samples of a local step; 0: no local updates
    double outer_learning_rate = 0.7;
    double outer_momentum = 0.9;
};

/// Thread: one at a time.
class LocalUpdates {
  public:
    /// @param parameters, inner  of this peer; must outlive this object.
    LocalUpdates(LocalUpdateSettings settings, std::span<float> parameters, Optimizer& inner);

    std::int64_t batch_size() const { return settings_.batch_size; }

    /// One local step along a mean gradient. Returns false, with everything as it was, if it does not end
    /// finite.
    bool step(std::span<const float> gradient, double learning_rate);
    /// Global minus local parameters: what this peer contributes.
    void write_difference(std::span<float> into) const;
    /// The outer step, along the swarm's average; the local parameters become the global ones. Returns false,
    /// with the global state as it was, if it does not end finite.
    bool apply(Step from, std::span<const float> average);
    /// Goes back to the global parameters.
    void drop_local_steps();

    std::span<float> global_parameters() { return global_; }
    std::vector<StatePart> outer_state() const { return outer_->state(); }

  private:
    LocalUpdateSettings settings_;
    std::span<float> local_;
    Optimizer& inner_;
    std::unique_ptr<Optimizer> outer_;
    std::vector<float> global_;
    std::int64_t local_steps_ = 0;  ///< ever; what the inner optimizer corrects its moments by
};

}  // namespace shoal::optim
