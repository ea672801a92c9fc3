// The methods that MASHA is compared with. Where devices differ (F_m(z*) is not 0), those that compress the
// operator itself keep its noise at the solution and stall or diverge; so do local steps.
#pragma once

#include "shoal/variational/method.h"

namespace shoal::variational {

/// Korpelevich 1976: two full averages an iteration, nothing compressed.
class Extragradient final : public Method {
  public:
    Extragradient(const Problem& problem, Exchange& exchange, const MethodSettings& settings);

  protected:
    awaitable<void> advance() override;

  private:
    Averaging exact_;
    std::vector<Vector> operators_;
    Vector average_, half_;
};

/// QGD: z+ = prox( z - step Q[ mean of Q(F_m(z)) ] )
class QuantisedDescent final : public Method {
  public:
    QuantisedDescent(const Problem& problem, Exchange& exchange, const MethodSettings& settings);

  protected:
    awaitable<void> advance() override;

  private:
    Averaging compressed_;
    std::vector<Vector> operators_;
    Vector average_;
};

/// EF: p_m = C(e_m + step F_m(z)), e_m += step F_m(z) - p_m, z+ = z - mean of p_m. No proximal step.
class ErrorFeedbackDescent final : public Method {
  public:
    ErrorFeedbackDescent(const Problem& problem, Exchange& exchange, const MethodSettings& settings);

  protected:
    awaitable<void> advance() override;

  private:
    Averaging compressed_;
    std::vector<Vector> operators_;
    Vector average_;
};

/// CEG: extragradient with both averages compressed, independently.
class QuantisedExtragradient final : public Method {
  public:
    QuantisedExtragradient(const Problem& problem, Exchange& exchange, const MethodSettings& settings);

  protected:
    awaitable<void> advance() override;

  private:
    Averaging compressed_;
    std::vector<Vector> operators_;
    Vector average_, half_;
};

/// Local SGDA: each device takes settings.local_steps steps on its own operator; then the points are
/// averaged, in full.
class LocalDescent final : public Method {
  public:
    LocalDescent(const Problem& problem, Exchange& exchange, const MethodSettings& settings);

  protected:
    awaitable<void> advance() override;

  private:
    Averaging exact_;
    std::vector<Vector> points_;
    Vector operator_;
};

}  // namespace shoal::variational
