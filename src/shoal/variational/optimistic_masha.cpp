#include "shoal/variational/optimistic_masha.h"

#include <algorithm>

namespace shoal::variational {

OptimisticMasha::OptimisticMasha(const Problem& problem, Exchange& exchange, const MethodSettings& settings)
    : Method(problem, exchange, settings),
      compressed_(exchange, problem.dimension(),
                  AveragingSettings{settings.device_codec, settings.server_codec, false, settings.seed},
                  counter()),
      exact_(exchange, problem.dimension(), AveragingSettings(), counter()),
      refresh_(choose_refresh(compressed_)),
      before_(z()),
      reference_(z()),
      known_reference_(z()),
      known_operator_(z()),
      known_operators_(device_vectors()),
      operators_before_(device_vectors()),
      changes_(device_vectors()),
      answer_(z()),
      now_(z()),
      earlier_(z()),
      at_reference_(z()) {
    choose_step([this](const Setting& setting) { return optimistic_step(setting, refresh_); }, compressed_);
}

awaitable<void> OptimisticMasha::prepare() {
    co_await share_reference();
    operators_before_ = known_operators_;  // z^{-1} = z^0 = w^0
}

awaitable<void> OptimisticMasha::share_reference() {
    known_reference_ = reference_;
    evaluate_all(known_reference_, known_operators_);
    co_await exact_.average(everybody(), known_operators_, known_operator_);
}

void OptimisticMasha::evaluate_changes(const std::vector<std::size_t>& senders) {
    for (std::size_t i = 0; i < changes_.size(); ++i) {
        const std::size_t device = exchange().local_devices()[i];
        const std::vector<std::size_t> batch = draw_batch(device);
        const bool whole = batch.empty();
        // Who does not answer evaluates all the same: its next change counts from here.
        if (!whole && !std::binary_search(senders.begin(), senders.end(), device)) continue;
        evaluate(device, batch, z(), now_);
        if (!whole) {
            evaluate(device, batch, before_, earlier_);
            evaluate(device, batch, known_reference_, at_reference_);
        }
        const Vector& at_reference = whole ? known_operators_[i] : at_reference_;
        const Vector& earlier = whole ? operators_before_[i] : earlier_;
        for (std::size_t j = 0; j < now_.size(); ++j)
            changes_[i][j] = now_[j] - at_reference[j] + settings().optimism * (now_[j] - earlier[j]);
        if (whole) operators_before_[i] = now_;
    }
}

awaitable<void> OptimisticMasha::advance() {
    const std::vector<std::size_t> senders = draw_participants();
    note_half_point(z());
    evaluate_changes(senders);
    co_await compressed_.average(senders, changes_, answer_);

    before_ = z();
    for (std::size_t i = 0; i < before_.size(); ++i)
        z()[i] += refresh_ * (reference_[i] - before_[i]) - step_size() * (answer_[i] + known_operator_[i]);
    prox(z());

    // The next iteration counts from w^k, which may have moved in the last one, and w^{k+1} may be z^k.
    if (reference_moved_) co_await share_reference();
    reference_moved_ = draw_refresh(refresh_);
    if (reference_moved_) reference_ = before_;
}

}  // namespace shoal::variational
