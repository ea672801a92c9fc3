#include "shoal/variational/local_exchange.h"

#include <numeric>

namespace shoal::variational {
namespace {

std::vector<std::size_t> all_devices(std::size_t count) {
    std::vector<std::size_t> devices(count);
    std::iota(devices.begin(), devices.end(), std::size_t{0});
    return devices;
}

}  // namespace

LocalExchange::LocalExchange(std::size_t devices, std::size_t owners)
    : Exchange(devices, owners, all_devices(devices)) {}

awaitable<std::vector<Bytes>> LocalExchange::exchange(const Round& round,
                                                      const std::vector<Message>& messages) {
    std::vector<Bytes> answers;
    std::vector<ByteView> parts;
    for (std::size_t share = 0; share < owners(); ++share) {
        parts.clear();
        for (const std::size_t sender : round.senders) parts.push_back(messages[sender][share]);
        answers.push_back(round.answer(share, parts));
    }
    co_return answers;
}

}  // namespace shoal::variational
