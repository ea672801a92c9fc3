#include "shoal/collective/training_peer.h"

#include "shoal/collective/auxiliary_peer.h"
#include "shoal/collective/trainer.h"

namespace shoal::collective {

std::shared_ptr<TrainingPeer> make_training_peer(net::Network& network, Clock& clock, Averager& averager,
                                                 ProgressTracker& progress, Compute* compute,
                                                 StateTransferSettings transfer, TrainingSettings settings,
                                                 TrainingObserver& observer, Log log) {
    check_transfer_settings(transfer);
    if (settings.in_groups && (settings.role == Role::auxiliary || settings.delayed))
        throw Error(ErrorKind::invalid_argument,
                    "averaging in groups has no auxiliary peers and does not go with delayed averaging");
    if (settings.role == Role::auxiliary) {
        return std::make_shared<AuxiliaryPeer>(network, clock, averager, progress, std::move(settings),
                                               observer, std::move(log));
    }
    if (compute == nullptr) throw Error(ErrorKind::invalid_argument, "a peer that trains needs a model");
    return std::make_shared<Trainer>(network, clock, averager, progress, *compute, std::move(transfer),
                                     std::move(settings), observer, std::move(log));
}

}  // namespace shoal::collective
