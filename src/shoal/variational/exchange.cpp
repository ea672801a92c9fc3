#include "shoal/variational/exchange.h"

#include "shoal/base/error.h"

namespace shoal::variational {

std::vector<Share> equal_shares(std::size_t coordinates, std::size_t count) {
    if (count == 0) throw Error(ErrorKind::invalid_argument, "there must be one share at least");
    std::vector<Share> shares;
    std::size_t begin = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t size = coordinates / count + (i < coordinates % count ? 1 : 0);
        shares.push_back({begin, begin + size});
        begin += size;
    }
    return shares;
}

std::string Exchange::name_of(std::size_t device) const {
    return "device " + std::to_string(device);
}

}  // namespace shoal::variational
