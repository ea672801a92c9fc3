#include "shoal/optim/local_updates.h"

#include <algorithm>
#include <utility>

namespace shoal::optim {
namespace {

std::unique_ptr<Optimizer> make_outer(const LocalUpdateSettings& settings, const ParameterLayout& layout) {
    OptimizerSettings outer;
    outer.name = "sgd";
    outer.weight_decay = 0;  // the inner optimizer's
    outer.momentum = settings.outer_momentum;
    outer.nesterov = settings.outer_momentum > 0;
    return make_optimizer(outer, layout);
}

/// Parameters and optimizer state before a step that may have to be taken back.
class Before {
  public:
    Before(std::span<float> parameters, Optimizer& optimizer) {
        places_.push_back(parameters);
        for (const StatePart& part : optimizer.state()) places_.push_back(part.values);
        for (const auto& place : places_) copies_.emplace_back(place.begin(), place.end());
    }
    bool is_finite_now() const {
        return std::all_of(places_.begin(), places_.end(),
                           [](const auto& place) { return all_finite(place); });
    }
    void restore() const {
        for (std::size_t i = 0; i < places_.size(); ++i)
            std::copy(copies_[i].begin(), copies_[i].end(), places_[i].begin());
    }

  private:
    std::vector<std::span<float>> places_;
    std::vector<std::vector<float>> copies_;
};

bool take(Optimizer& optimizer, Step from, std::span<float> parameters, std::span<const float> gradient,
          double learning_rate) {
    const Before before(parameters, optimizer);
    optimizer.step(from, parameters, gradient, learning_rate);
    if (before.is_finite_now()) return true;
    before.restore();
    return false;
}

}  // namespace

LocalUpdates::LocalUpdates(LocalUpdateSettings settings, std::span<float> parameters, Optimizer& inner)
    : settings_(settings),
      local_(parameters),
      inner_(inner),
      outer_(make_outer(settings, inner.layout())),
      global_(parameters.begin(), parameters.end()) {}

bool LocalUpdates::step(std::span<const float> gradient, double learning_rate) {
    if (!take(inner_, static_cast<Step>(local_steps_), local_, gradient, learning_rate)) return false;
    ++local_steps_;
    return true;
}

void LocalUpdates::write_difference(std::span<float> into) const {
    for (std::size_t i = 0; i < into.size(); ++i) into[i] = global_[i] - local_[i];
}

bool LocalUpdates::apply(Step from, std::span<const float> average) {
    const bool finite = all_finite(average);
    const bool taken = finite && take(*outer_, from, global_, average, settings_.outer_learning_rate);
    drop_local_steps();
    return taken;
}

void LocalUpdates::drop_local_steps() {
    std::copy(global_.begin(), global_.end(), local_.begin());
}

}  // namespace shoal::optim
