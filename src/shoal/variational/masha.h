// MASHA1 and MASHA2 (Beznosikov, Richtarik, Diskin, Ryabinin, Gasnikov, NeurIPS 2022): extragradient methods
// that compress only the difference to a reference point w, which moves rarely, and step from a point that is
// drawn towards it. So the noise of compression vanishes at the solution, though each F_m(z*) is not 0.
//
// With settings.batch devices evaluate both ends of the difference on a batch of their components
// (VR-MASHA); with settings.participants only some devices answer (PP-MASHA). A refresh needs all of both.
#pragma once

#include "shoal/variational/method.h"

namespace shoal::variational {

/// What both share: the reference point and what everybody knows of it.
class Masha : public Method {
  public:
    /// w^k
    const Vector& reference() const { return reference_; }
    /// 1 - tau
    double refresh() const { return refresh_; }

  protected:
    Masha(const Problem& problem, Exchange& exchange, const MethodSettings& settings, bool error_feedback);

    awaitable<void> prepare() override;
    /// half = prox( tau z + (1 - tau) w - step F(w) )
    void make_half_point();
    /// differences = factor (F_m(half) - F_m(w)), of a batch, by local device
    void evaluate_differences(const std::vector<std::size_t>& senders, double factor);
    /// With probability 1 - tau the reference moves to `old_point` and all send their F_m there.
    awaitable<void> perhaps_refresh(Vector old_point);
    /// Exchanges F_m(w) in full.
    awaitable<void> share_reference();

    Averaging compressed_, exact_;
    const double refresh_;
    Vector reference_, pulled_, half_, answer_;  // w, zbar, z^{k+1/2}, g
    Vector reference_operator_;                  // F(w)
    std::vector<Vector> reference_operators_;    // F_m(w)
    std::vector<Vector> differences_;

  private:
    Vector at_half_, at_reference_;
};

/// For unbiased compressors.
class Masha1 final : public Masha {
  public:
    Masha1(const Problem& problem, Exchange& exchange, const MethodSettings& settings);

  protected:
    awaitable<void> advance() override;
};

/// For contractive compressors, with error feedback on both sides. For problems without a proximal term.
class Masha2 final : public Masha {
  public:
    Masha2(const Problem& problem, Exchange& exchange, const MethodSettings& settings);

  protected:
    awaitable<void> advance() override;
};

}  // namespace shoal::variational
