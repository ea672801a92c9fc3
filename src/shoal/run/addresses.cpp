#include "shoal/run/addresses.h"

#include <algorithm>

#include "shoal/base/error.h"
#include "shoal/dht/directory.h"

namespace shoal::run {

std::string address_key(const PeerId& peer) {
    return "address/" + peer.hex();
}

Bytes encode_addresses(const std::vector<net::Endpoint>& endpoints) {
    std::string text;
    for (const net::Endpoint& one : endpoints) {
        const std::string line = one.to_string() + "\n";
        if (text.size() + line.size() > dht::kMaximumValueBytes) break;
        text += line;
    }
    return to_bytes(text);
}

std::vector<net::Endpoint> decode_addresses(ByteView value) {
    constexpr std::size_t kMaximum = 16;
    std::vector<net::Endpoint> found;
    std::string_view text = as_text(value);
    while (!text.empty() && found.size() < kMaximum) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        const std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        const bool printable =
            std::all_of(line.begin(), line.end(), [](char c) { return c > 0x20 && c < 0x7f; });
        if (!printable || line.empty()) continue;
        try {
            net::Endpoint endpoint = net::Endpoint::parse(line);
            if (endpoint.port != 0) found.push_back(std::move(endpoint));
        } catch (const Error&) {
            continue;
        }
    }
    return found;
}

}  // namespace shoal::run
