// All devices and all owners of shares in this process.
#pragma once

#include "shoal/variational/exchange.h"

namespace shoal::variational {

class LocalExchange final : public Exchange {
  public:
    /// As many shares as devices, as over the network; one share is a central server.
    explicit LocalExchange(std::size_t devices) : LocalExchange(devices, devices) {}
    LocalExchange(std::size_t devices, std::size_t owners);

    /// Never waits.
    awaitable<std::vector<Bytes>> exchange(const Round& round, const std::vector<Message>& messages) override;
};

}  // namespace shoal::variational
