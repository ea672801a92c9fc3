// Optimistic MASHA (Beznosikov, OPTIMA 2022): one operator evaluation an iteration, which is also the step.
// In place of the extrapolation it adds what the operator has changed since the last point:
//
//   delta_m = F_m(z^k) - F_m(w^{k-1}) + alpha (F_m(z^k) - F_m(z^{k-1}))
//   z^{k+1} = prox( z^k + p (w^k - z^k) - eta (mean of Q(delta_m) + F(w^{k-1})) )
//   w^{k+1} = z^k with probability p
//
// Written from slides; that alpha = 1 is right was seen in experiments and not proven here.
#pragma once

#include "shoal/variational/method.h"

namespace shoal::variational {

/// For unbiased compressors.
class OptimisticMasha final : public Method {
  public:
    OptimisticMasha(const Problem& problem, Exchange& exchange, const MethodSettings& settings);

  protected:
    awaitable<void> prepare() override;
    awaitable<void> advance() override;

  private:
    void evaluate_changes(const std::vector<std::size_t>& senders);
    awaitable<void> share_reference();

    Averaging compressed_, exact_;
    const double refresh_;                  // p
    Vector before_;                         // z^{k-1}
    Vector reference_, known_reference_;    // w^k, w^{k-1}
    Vector known_operator_;                 // F(w^{k-1})
    std::vector<Vector> known_operators_;   // F_m(w^{k-1})
    std::vector<Vector> operators_before_;  // F_m(z^{k-1}), where all components are evaluated
    std::vector<Vector> changes_;           // delta_m
    Vector answer_, now_, earlier_, at_reference_;
    bool reference_moved_ = false;  // w^k is not w^{k-1}
};

}  // namespace shoal::variational
