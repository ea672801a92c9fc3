#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <sys/socket.h>

#include "shoal/run/node.h"

namespace shoal::run {
namespace {

struct Interface {
    std::string host;
    bool loopback = false, six = false;
};

std::vector<Interface> interfaces() {
    std::vector<Interface> found;
    ifaddrs* list = nullptr;
    if (::getifaddrs(&list) != 0) return found;
    for (const ifaddrs* one = list; one; one = one->ifa_next) {
        if (!one->ifa_addr || !(one->ifa_flags & IFF_UP)) continue;
        const int family = one->ifa_addr->sa_family;
        if (family != AF_INET && family != AF_INET6) continue;
        const socklen_t length = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
        std::array<char, NI_MAXHOST> text{};
        if (::getnameinfo(one->ifa_addr, length, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST) != 0)
            continue;
        Interface entry;
        entry.host = text.data();
        entry.loopback = (one->ifa_flags & IFF_LOOPBACK) != 0;
        entry.six = family == AF_INET6;
        // A link-local address means nothing to others: its zone is a number of this machine.
        if (entry.host.find('%') == std::string::npos) found.push_back(std::move(entry));
    }
    ::freeifaddrs(list);
    return found;
}

}  // namespace

std::vector<net::Endpoint> local_endpoints(const std::string& listen_host, std::uint16_t port) {
    const auto endpoint = [port](const std::string& host) {
        net::Endpoint result;
        result.host = host;
        result.port = port;
        return result;
    };
    if (listen_host != "0.0.0.0" && listen_host != "::" && !listen_host.empty())
        return {endpoint(listen_host)};
    const bool six = listen_host == "::";
    std::vector<net::Endpoint> outside, loopback;
    std::vector<Interface> all = interfaces();
    std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.six < b.six; });
    for (const Interface& one : all) {
        if (one.six && !six) continue;
        (one.loopback ? loopback : outside).push_back(endpoint(one.host));
    }
    // A record of the directory is one packet: a machine with dozens of bridges names the first ones.
    constexpr std::size_t kMaximum = 6;
    if (outside.size() > kMaximum) outside.resize(kMaximum);
    return outside.empty() ? loopback : outside;
}

}  // namespace shoal::run
