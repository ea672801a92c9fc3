// Address records of strangers: whatever they hold, what comes out can be dialled and written down again.
#include "shoal/run/addresses.h"

#include <cstdlib>

#include "shoal/dht/directory.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shoal;
    const std::vector<net::Endpoint> endpoints = run::decode_addresses({data, size});
    if (endpoints.size() > 16) std::abort();
    for (const net::Endpoint& one : endpoints)
        if (one.port == 0 || one.host.empty() || net::Endpoint::parse(one.to_string()) != one) std::abort();
    const Bytes again = run::encode_addresses(endpoints);
    if (again.size() > dht::kMaximumValueBytes) std::abort();
    const std::vector<net::Endpoint> same = run::decode_addresses(again);
    if (!std::equal(same.begin(), same.end(), endpoints.begin())) std::abort();
    return 0;
}
